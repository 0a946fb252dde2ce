"""What a dataset is like, held against real people."""
