"""Weights, styles and seeds to pairs on disk."""
