"""The OpenAI-compatible API under ``/v1``: requests become generations, their frames become chunks."""
