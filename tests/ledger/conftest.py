"""How hypothesis runs here: a busy machine is no failure, so examples have no deadline."""

import os

from hypothesis import settings

settings.register_profile("modeldeed", deadline=None, max_examples=60)
# `make deep`: tests that set no number of their own look thirty times as far.
settings.register_profile("deep", deadline=None, max_examples=2000)
settings.load_profile("deep" if os.environ.get("DEED_DEEP") else "modeldeed")
