"""Weight files and configuration files, without ComfyUI."""
