"""Measurements of the pack: `python3 dev.py bench [name]`. Times are ratios taken in one run, memory is exact."""
