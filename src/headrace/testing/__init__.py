"""Parts for tests: power cuts, ephemeral servers."""
