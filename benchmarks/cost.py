"""To come."""
TITLE = "cost"
