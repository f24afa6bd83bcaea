"""The converters that live."""
