"""Query the lake in a child process: bounded in time and memory, and no DuckDB in the caller.

This module imports nothing that is heavy: the caller is Airflow's api-server.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from dataclasses import replace
from typing import Any

from lotus_lake.child_processes import read_task, run_module
from lotus_lake.config.settings import Settings
from lotus_lake.errors import LotusLakeError, ResourcesExhaustedError, TransientError

QUERY_SECONDS = 30
_MEMORY_LIMIT = "512MiB"  # of DuckDB
_DATA_BYTES = 2 * 1024**3  # of the process


def query(settings: Settings, name: str, *, seconds: int = QUERY_SECONDS, **arguments: Any) -> Any:
    """The result of a function of `page_queries`, as JSON has it.

    Args:
        settings: Of the lake.
        name: The function.
        seconds: After this time the child ends itself.
        arguments: Its arguments besides the lake; texts, numbers and None.

    Raises:
        LotusLakeError: The function raised it.
        TransientError: It took longer.
        ResourcesExhaustedError: The child was killed, as when it needs too much memory.
    """
    bounded = replace(settings, memory_limit=_MEMORY_LIMIT, threads=1)
    code, answer = run_module(__name__, (bounded, name, arguments), str(seconds))
    if code == -signal.SIGALRM:
        raise TransientError(
            f"the lake did not answer within {seconds} s",
            hint="it may be locked, slow or down; `lotus-lake doctor` shows more",
        )
    if code < 0:
        killed = signal.Signals(-code).name
        raise ResourcesExhaustedError(f"the process that reads the lake was ended by {killed}")
    if answer is None or "error" in answer:
        raise LotusLakeError(answer["error"] if answer else "reading the lake failed: see the log")
    return answer["found"]


def main() -> None:
    """Run the query; print its result, or the error of the library."""
    signal.alarm(int(sys.argv[1]))  # even if the caller is gone by then
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES, _DATA_BYTES))
    from lotus_lake.lake.connection import open_to_read
    from lotus_lake.observe.page_queries import QUERIES

    settings, name, arguments = read_task()
    try:
        with open_to_read(settings) as lake:
            answer = {"found": QUERIES[name](lake, **arguments)}
    except LotusLakeError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer, default=_plain))


def _plain(value: object) -> str:
    """Dates and times in ISO form, as browsers read them."""
    iso = getattr(value, "isoformat", None)
    return str(iso() if iso else value)


if __name__ == "__main__":
    main()
