"""Who may do what at the service, and the log of it (docs/spec/access.md)."""
