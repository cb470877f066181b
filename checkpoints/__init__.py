"""Where weights come from: checkpoint folders, their published layouts, and the only code that opens weight files."""
