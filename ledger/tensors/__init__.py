"""Readers of model files: names, dtypes, shapes and payload bytes, never code."""
