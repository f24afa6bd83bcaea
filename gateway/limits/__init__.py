"""What one user may use at once, in a minute and in a day."""
