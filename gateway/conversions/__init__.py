"""Conversion jobs: submit, follow, cancel."""
