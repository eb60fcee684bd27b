"""How fast the compiled loop is: measuring processes, and the matrix products they are held against."""
