"""How a file lands: list, batch, register, cursor, cleanup, one module per task of the UI."""
