"""Makes a policy bundle of a model of one's own; `python -m robot_bridge.bundle` is its command."""
