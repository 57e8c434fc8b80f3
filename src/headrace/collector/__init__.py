"""The retired HTTP Data Collector API, on the same journal: old senders go on unchanged."""
