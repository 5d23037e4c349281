"""The shapes of what is asked and answered, by what they describe, as `api.routes` is divided."""
