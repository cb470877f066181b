"""Networks that make hints and masks of pictures."""
