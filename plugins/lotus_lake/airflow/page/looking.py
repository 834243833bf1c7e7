"""Looks at the lake for a page that must not wait: in children, a few at a time, kept for seconds.

A page gets what is known within a second: what a child has just found, what one has found a while
ago, or that the lake has not answered yet. The child goes on, for the next request.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Lock
from typing import Any

from lotus_lake.config.settings import Settings
from lotus_lake.errors import LotusLakeError
from lotus_lake.observe.child import look

# How long a page waits for a child, an answer counts as fresh, and one is shown for want of better.
_PATIENCE_SECONDS = 0.8
_FRESH_SECONDS = 10.0
_KEPT_SECONDS = 3600.0
# A look that takes long is not begun again before so many times its length: at most a fifth of the
# time is spent on it.
_REST = 4
_CHILDREN = 2
_QUEUED = 8
_KEPT = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of the lake.

    Attributes:
        found: What a look has found; `None` if none has yet.
        error: Why the newest look has found nothing.
        age_seconds: How old `found` is.
        waiting_seconds: How long the look that runs now has been going on.
    """

    found: Any = None
    error: str | None = None
    age_seconds: float = 0.0
    waiting_seconds: float = 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether this is how the lake is now."""
        return self.found is not None and self.error is None and self.age_seconds <= _FRESH_SECONDS


@dataclass(slots=True)
class _Entry:
    found: Any = None
    found_at: float = 0.0
    error: str | None = None
    ended_at: float = float("-inf")
    began_at: float = 0.0
    took_seconds: float = 0.0
    running: Future[None] | None = None


class Looking:
    """Keeps what was seen, and looks again when that is old.

    Args:
        settings: Gives the settings of the lake; called beside the page, it may take its time.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(_CHILDREN, thread_name_prefix="lake-page")
        self._entries: OrderedDict[tuple[Any, ...], _Entry] = OrderedDict()
        self._lock = Lock()

    def see(self, name: str, *, old_will_do: bool = False, **arguments: Any) -> Seen:
        """What is known; waits for less than a second.

        Args:
            name: A function of `lotus_lake.observe.looks`.
            old_will_do: Do not wait if anything is known.
            arguments: Of that function.
        """
        entry, running = self._begin(name, arguments)
        if running is not None and not (old_will_do and entry.found is not None):
            wait([running], _PATIENCE_SECONDS)
        with self._lock:
            return self._seen(entry)

    def _begin(self, name: str, arguments: dict[str, Any]) -> tuple[_Entry, Future[None] | None]:
        """The look that runs, or is begun because what is known is old."""
        with self._lock:
            now, key = time.monotonic(), (name, *sorted(arguments.items()))
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            rest = max(_FRESH_SECONDS, _REST * entry.took_seconds)
            if entry.running is None and now - entry.ended_at > rest:
                if self._running() >= _QUEUED:
                    entry.error = "too many pages are waiting for the lake"
                    return entry, None
                entry.began_at = now
                entry.running = self._pool.submit(self._look, entry, name, arguments)
            self._forget()
            return entry, entry.running

    def _look(self, entry: _Entry, name: str, arguments: dict[str, Any]) -> None:
        found, error = None, None
        try:
            found = look(self._settings(), name, **arguments)
        except LotusLakeError as problem:
            error = str(problem)
        # Whatever secrets backends and connections raise; it may quote what is secret.
        except Exception:
            log.exception("reading %r from the lake failed", name)
            error = "reading the lake failed: see the log of the api-server"
        with self._lock:
            entry.running, entry.ended_at, entry.error = None, time.monotonic(), error
            entry.took_seconds = entry.ended_at - entry.began_at
            if error is None:
                entry.found, entry.found_at = found, entry.ended_at

    def _seen(self, entry: _Entry) -> Seen:
        now = time.monotonic()
        waiting = now - entry.began_at if entry.running else 0.0
        age = now - entry.found_at
        found = entry.found if age <= _KEPT_SECONDS else None
        return Seen(found, entry.error, age if found is not None else 0.0, waiting)

    def _running(self) -> int:
        return sum(entry.running is not None for entry in self._entries.values())

    def _forget(self) -> None:
        for key in [key for key, entry in self._entries.items() if entry.running is None]:
            if len(self._entries) <= _KEPT:
                break
            del self._entries[key]
