"""Published variants: list, resolve, remove."""
