"""Admission, routing, relay and the end of generations."""
