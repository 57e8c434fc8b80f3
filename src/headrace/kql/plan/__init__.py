"""The typed logical plan: columns with identities, expressions over them, and relational nodes."""
