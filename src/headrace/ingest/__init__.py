"""The gateway: from a POST to a durable journal record."""
