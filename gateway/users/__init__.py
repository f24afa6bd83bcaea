"""Users: their keys, the page's sessions, the log of what admins did, and a user's end."""
