"""The drawn scenes that the small weights of demo/ know."""
