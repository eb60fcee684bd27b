"""A page for the operator: what the policy node does, what does not allow motion, and buttons."""
