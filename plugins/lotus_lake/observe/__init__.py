"""Look without changing anything: status, files, the plan of the next run, queries."""
