"""What stands on run folders: a loaded run, its evaluation and bundle, sweeps and their results."""
