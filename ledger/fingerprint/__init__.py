"""Identities computed from a model's values; nothing here changes a model."""
