"""The audit log: who did what to which resource, from where, and whether it was allowed; as a chain of hashes."""
