"""The Lake page inside Airflow's UI: what `lotus-lake status`, `files` and `balance` say."""
