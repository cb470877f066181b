"""Qwen2VL-Flux: the tokens of a picture in place of T5's, for FLUX.1."""
