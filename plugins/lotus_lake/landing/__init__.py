"""What landing tables look like, and how they follow the config and the files."""
