"""The heavy stages of a conversion. Each module has `Arguments`, `Result` and `run`, and runs in a child process."""
