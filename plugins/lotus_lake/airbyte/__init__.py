"""Airbyte, which writes the raw files: what it is asked for, and what it says about its jobs."""
