"""Published files, Delta commits, snapshots and scans."""
