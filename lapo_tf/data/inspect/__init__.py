"""A look at a data set: numbers, findings, figures, a page."""
