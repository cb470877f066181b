"""The images that people look at, those of workflows/ and docs/, made by the bundled workflows' own graphs in a real
ComfyUI, with the small checkpoint in demo/: `python3 dev.py thumbnails`."""
