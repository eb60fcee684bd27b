"""Robot bags -> a data set."""
