"""Names and types: the syntax tree in, the typed plan out, with every problem that the text has."""
