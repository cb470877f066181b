"""AnyLine: the lines of a picture."""
