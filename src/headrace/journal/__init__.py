"""The durable thing before the answer: what is acknowledged is here first, and survives any crash."""
