"""What is in S3: the grammar of keys, listings of objects, credentials."""
