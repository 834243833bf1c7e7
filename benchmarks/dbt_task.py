"""To come."""
TITLE = "dbt_task"
