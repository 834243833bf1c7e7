"""To come."""
TITLE = "backlog"
