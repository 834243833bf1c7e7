"""Airflow's side: the only code that imports Airflow or Cosmos."""
