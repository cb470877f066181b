"""What is attached to a native MODEL, CONTROL_NET or CONDITIONING, one idea a file."""
