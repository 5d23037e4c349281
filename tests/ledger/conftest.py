"""How hypothesis runs here: a busy machine is no failure, so examples have no deadline."""

from hypothesis import settings

settings.register_profile("modeldeed", deadline=None)
settings.load_profile("modeldeed")
