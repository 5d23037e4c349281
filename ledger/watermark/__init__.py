"""Watermarks: what a model carries that only a committed key explains. Pure."""
