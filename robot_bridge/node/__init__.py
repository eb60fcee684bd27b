"""The policy node: observations in, guarded commands out."""
