"""`python -m lab.thumbnails`."""

from .make import main

main()
