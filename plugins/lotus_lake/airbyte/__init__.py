"""Airbyte's API: connections, jobs, backfills, and the proof that all records of a job landed."""
