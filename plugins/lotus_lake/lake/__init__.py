"""DuckLake: the connection, the write lock, and the only SQL on DuckLake's own tables."""
