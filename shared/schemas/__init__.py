"""The messages that cross a boundary, one module per noun."""
