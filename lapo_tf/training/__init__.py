"""Training: the compiled loop, evaluation, the run folder."""
