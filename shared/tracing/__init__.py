"""Spans of generations, sent to an OpenTelemetry collector where one is set."""
