"""What is known of files, of their registrations, and of how far models have read."""
