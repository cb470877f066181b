"""Prompts and command line of Qwen2VL-Flux."""
