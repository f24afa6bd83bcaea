"""Markdown of answers, rendered and sanitized here so that the page shows no markup of its own making."""
