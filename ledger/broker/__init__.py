"""The key broker: who may have the key of a sealed model, and how it travels."""
