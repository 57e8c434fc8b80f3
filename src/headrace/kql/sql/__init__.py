"""Plans to SQL expression trees: generated names throughout, every text of the user's as a literal."""
