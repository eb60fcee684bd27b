"""A page for the operator: what the policy node does, and buttons to enable, disable and stop it."""
