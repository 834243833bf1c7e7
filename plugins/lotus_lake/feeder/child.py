"""Land files in a child process: a file that crashes DuckDB's reader crashes that process only.

It costs 0.7 s, so only files that a process has died of before are landed like this.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict

import duckdb

from lotus_lake.child_processes import read_task, run_module
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream
from lotus_lake.feeder.batch import Batch

# Exit codes of a process that the system killed because of what it read.
_CRASHES = {
    -number: number.name
    for number in (
        signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGKILL
    )
}  # fmt: skip


def run_child(
    settings: Settings, stream: Stream, batch: Batch, run_id: str
) -> tuple[dict[str, int] | None, str | None]:
    """Land the files of a batch in a child process.

    Returns:
        Fields of its `Registration`, and the signal that it died of. Neither when it failed with
        an error: the caller meets the same error, and can report more.
    """
    code, found = run_module(__name__, (settings, stream, batch, run_id))
    return found, _CRASHES.get(code)


def main() -> None:
    """Land what standard input says; print the fields of the `Registration`."""
    from lotus_lake.feeder.register import land_files
    from lotus_lake.lake.connection import open_lake

    settings, stream, batch, run_id = read_task()
    try:
        with open_lake(settings) as lake:
            done = land_files(lake, stream, batch, run_id)
    except duckdb.FatalException:  # DuckDB gives itself up
        os.abort()
    print(json.dumps(asdict(done)))


if __name__ == "__main__":
    main()
