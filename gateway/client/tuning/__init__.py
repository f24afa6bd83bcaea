"""``ovchat tune``: candidates of an engine's configuration, measured in turn with the default."""
