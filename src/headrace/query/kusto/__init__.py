"""Kusto's own HTTP surface: a workspace is a database, so that Kusto's clients and tools work."""
