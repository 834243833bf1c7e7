"""List, batch, register, cursor, cleanup: one module per task of the Airflow UI."""
