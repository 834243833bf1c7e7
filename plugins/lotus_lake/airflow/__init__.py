"""The Dags, sensors and tasks: the only code that imports Airflow or Cosmos."""
