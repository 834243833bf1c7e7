"""What lies in S3: keys, objects, credentials."""
