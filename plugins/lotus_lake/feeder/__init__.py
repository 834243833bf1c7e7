"""The feeder: one module per task of the UI, list -> batch -> register -> cursor -> cleanup."""
