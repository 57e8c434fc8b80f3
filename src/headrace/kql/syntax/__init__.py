"""KQL text to an immutable tree: lexer, parser, and the nodes of the tree."""
