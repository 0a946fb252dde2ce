"""The networks, one to a file, each built from its configuration dataclass; none knows of files or training."""
