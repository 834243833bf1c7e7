"""Look at the lake in a child process: bounded in time and memory, and no DuckDB in the caller.

Started as `python -m lotus_lake.observe.child`, which reads from its standard input what to look
at. What it finds comes back as JSON, so that no value from the lake is more than text to the
caller. This module imports nothing that is heavy: the caller is Airflow's api-server.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

from lotus_lake.config.settings import Settings
from lotus_lake.errors import LotusLakeError, ResourcesExhaustedError, TransientError

LOOK_SECONDS = 30
_MEMORY_LIMIT = "512MiB"  # of DuckDB
_DATA_BYTES = 2 * 1024**3  # of the process


def look(settings: Settings, name: str, *, seconds: int = LOOK_SECONDS, **arguments: Any) -> Any:
    """What a function of `looks` finds, as JSON has it.

    Args:
        settings: Of the lake.
        name: The function.
        seconds: After this time the child ends itself.
        arguments: What it takes besides the lake; texts, numbers and None.

    Raises:
        LotusLakeError: What it says of the lake.
        TransientError: It took longer.
        ResourcesExhaustedError: It was killed, as when it needs more memory than there is.
    """
    bounded = replace(settings, memory_limit=_MEMORY_LIMIT, threads=1)
    ended = subprocess.run(
        [sys.executable, "-m", __name__, str(seconds)],
        input=pickle.dumps((bounded, name, arguments)),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    if ended.returncode == -signal.SIGALRM:
        raise TransientError(
            f"the lake did not answer within {seconds} s",
            hint="it may be locked, slow or down; `lotus-lake doctor` shows more",
        )
    if ended.returncode < 0:
        killed = signal.Signals(-ended.returncode).name
        raise ResourcesExhaustedError(f"the process that reads the lake was ended by {killed}")
    answer = json.loads(ended.stdout.splitlines()[-1]) if ended.stdout else {}
    if "found" not in answer:
        raise LotusLakeError(answer.get("error", "reading the lake failed: see the log"))
    return answer["found"]


def main() -> None:
    """Look; print what is found, or what the library says is wrong."""
    signal.alarm(int(sys.argv[1]))  # even if the caller is gone by then
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES, _DATA_BYTES))
    from lotus_lake.lake.connection import open_to_read
    from lotus_lake.observe import looks

    settings, name, arguments = pickle.loads(sys.stdin.buffer.read())  # noqa: S301  our own
    try:
        with open_to_read(settings) as lake:
            answer = {"found": looks.LOOKS[name](lake, **arguments)}
    except LotusLakeError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer, default=_plain))


def _plain(value: object) -> str:
    """Dates and times in ISO form, as browsers read them."""
    iso = getattr(value, "isoformat", None)
    return str(iso() if iso else value)


if __name__ == "__main__":
    main()
