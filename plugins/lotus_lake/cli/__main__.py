"""`python -m lotus_lake.cli`."""

from lotus_lake.cli import main

main()
