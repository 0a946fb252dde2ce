"""Scans and label maps to a slice set."""
