"""Where the weights of demo/ and the pictures of workflows/ and docs/ are made and judged."""
