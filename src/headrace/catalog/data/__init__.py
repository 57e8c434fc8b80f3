"""Package data: the columns of Microsoft's standard tables."""
