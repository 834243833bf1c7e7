"""Look without changing anything: status, plan of the next run, files, queries."""
