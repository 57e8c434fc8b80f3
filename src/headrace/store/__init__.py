"""The resource store: one SQLite database, its migrations and the feed of its changes."""
