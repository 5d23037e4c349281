"""Tracing: which licenses a leaked copy came from, and how wrong that can be.

Pure: words, biases and evidence come in, scores and proven bounds go out. ``docs/spec/tracing.md``
is the specification.
"""
