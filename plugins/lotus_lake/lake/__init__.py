"""How DuckLake is opened, committed to and locked, and the only SQL on its own tables."""
