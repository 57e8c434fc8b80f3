"""The KQL compiler: text and schemas in, a typed plan or SQL out. Pure: no HTTP, no files, no Azure."""
