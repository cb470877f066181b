"""A headless client: starts a ComfyUI, queues prompts in API form, follows and fetches what they make."""
