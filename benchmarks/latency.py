"""To come."""
TITLE = "latency"
