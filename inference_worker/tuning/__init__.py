"""A candidate of an engine's configuration, measured in a process of its own: ``python -m inference_worker.tuning``."""
