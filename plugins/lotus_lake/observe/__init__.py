"""Views that change nothing: status, plan of the next run, files, balance, queries."""
