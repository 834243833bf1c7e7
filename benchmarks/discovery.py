"""To come."""
TITLE = "discovery"
