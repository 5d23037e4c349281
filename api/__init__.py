"""The FastAPI service: index, evidence, key broker, web console."""
