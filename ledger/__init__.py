"""modeldeed: licensing and provenance of machine-learning models."""

__version__ = "0.1.0"
