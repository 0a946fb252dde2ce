"""Training: one loop, and on it the stages of the label generator and of the image generator."""
