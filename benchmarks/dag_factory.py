"""To come."""
TITLE = "dag_factory"
