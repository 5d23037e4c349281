"""Verifiers that stand alone: files to hand to others. Nothing here is imported by the library."""
