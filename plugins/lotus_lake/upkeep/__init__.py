"""What runs at night: expire snapshots, delete files, compact tables, find orphans, report."""
