"""KQL queries over HTTP."""
