"""What tables and rules are: columns and their ids, schemas and their versions, rule documents parsed."""
