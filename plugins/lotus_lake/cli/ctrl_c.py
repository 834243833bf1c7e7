"""A second Ctrl-C ends a command at once, whatever it waits for.

Python handles the first one only when DuckDB returns, which may be never if a server has frozen.
"""

from __future__ import annotations

import os
import select
import signal
import threading

from lotus_lake.cli.output import say

_QUIET_SECONDS = 1.0


def watch() -> None:
    """Watch for Ctrl-C from now on; call it once, in the main thread."""
    presses, notices = os.pipe()
    os.set_blocking(notices, False)
    signal.set_wakeup_fd(notices, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(presses,), daemon=True).start()


def _watch(presses: int) -> None:
    _wait_for_press(presses)
    if not select.select([presses], [], [], _QUIET_SECONDS)[0]:
        say("waiting for an answer; press Ctrl-C again to exit now: nothing is left half done")
    _wait_for_press(presses)
    os._exit(128 + signal.SIGINT)


def _wait_for_press(presses: int) -> None:
    while os.read(presses, 1) != bytes([signal.SIGINT]):
        pass
