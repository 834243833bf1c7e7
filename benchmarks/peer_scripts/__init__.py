"""What other tools run in the benchmark `peers`: each in the environment that it makes."""
