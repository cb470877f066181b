"""Depth Anything V2: how near every pixel of a picture is."""
