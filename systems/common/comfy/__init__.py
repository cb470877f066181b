"""Where the systems meet ComfyUI: folders, native models out of diffusers layouts, patches."""
