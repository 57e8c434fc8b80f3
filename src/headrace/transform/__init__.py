"""From journal records to table files: rules compiled and run."""
