"""What each user used on each day."""
