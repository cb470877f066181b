"""The training loop, and a folder with the recipe of each system; never imports ComfyUI."""
