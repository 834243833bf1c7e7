"""To come."""
TITLE = "throughput"
