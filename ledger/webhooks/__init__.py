"""Events sent to URLs: signed, until they are taken (docs/spec/webhooks.md)."""
