"""SAM 2: the mask of the object that points and a box are on."""
