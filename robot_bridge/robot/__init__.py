"""What is to be run, and on what: the policy bundle and the robot config."""
