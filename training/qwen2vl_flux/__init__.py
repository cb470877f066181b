"""The published training recipe of Qwen2VL-Flux, for the real checkpoint and for small ones alike."""
