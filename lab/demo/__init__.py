"""The training of the checkpoint in demo/, from nothing."""
