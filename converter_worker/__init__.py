"""Converts Hugging Face models to OpenVINO IR: Celery tasks, each heavy stage in a forked child process."""
