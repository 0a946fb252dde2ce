"""Scans and banks to style codes."""
