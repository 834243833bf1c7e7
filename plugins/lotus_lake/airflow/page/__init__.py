"""The Lake page in Airflow's UI: shows what `lotus-lake status`, `files` and `balance` show."""
