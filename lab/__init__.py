"""Where the weights of demo/ and the images of workflows/ and docs/ are made and judged."""
