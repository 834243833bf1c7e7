"""Run a module of the library in a child process: it may crash or hang without harm to the caller.

The child reads its task from standard input, and answers with the last line of its standard output,
as JSON: no value from a file or from the lake is more than text to the caller.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from typing import Any


def run_module(module: str, task: object, *arguments: str) -> tuple[int, Any]:
    """Run `python -m module arguments` with a task, and wait for it.

    Returns:
        Its exit code, negative for a signal; and its answer, `None` if it gave none.
    """
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        input=pickle.dumps(task),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    lines = ended.stdout.splitlines()
    return ended.returncode, json.loads(lines[-1]) if lines and not ended.returncode else None


def read_task() -> Any:
    """The task, in the child."""
    return pickle.loads(sys.stdin.buffer.read())  # noqa: S301  our own
