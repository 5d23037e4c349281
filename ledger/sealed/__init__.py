"""Sealed model packages: encrypted, random-access, bound to what the licensor lodged.

``file`` is the face: seal, inspect, open. The format is ``docs/spec/sealed-package.md``.
"""
