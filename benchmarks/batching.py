"""To come."""
TITLE = "batching"
