"""What landing tables look like, and what a file must fit."""
