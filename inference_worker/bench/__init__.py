"""What the platform is measured against, each in a process of its own: ``python -m inference_worker.bench``."""
