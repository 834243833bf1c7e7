"""To come."""
TITLE = "merging"
