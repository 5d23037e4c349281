"""Sealed packages that lie elsewhere: object stores and web servers, read by ranges."""
