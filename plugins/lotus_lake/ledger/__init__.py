"""What happened to each file, where it is registered, and what each model has consumed."""
