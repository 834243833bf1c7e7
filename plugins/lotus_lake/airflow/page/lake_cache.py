"""Answers of the lake for a page that must not wait: child processes fetch them, and they are kept.

A page has an answer within a second: what a child has just found, what one found a while ago, or
that the lake has not answered yet. The child continues, for the next request.
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
from lotus_lake.observe.child import query

# How long a page waits for a child, an answer counts as fresh, and an old one is still shown.
_PATIENCE_SECONDS = 0.8
_FRESH_SECONDS = 10.0
_KEPT_SECONDS = 3600.0
# A page that shows what is older reloads itself, if a query has run for less than a moment.
_OLD_SECONDS, _MOMENT_SECONDS = 30.0, 5.0
# A query is not repeated before four times its duration has passed: it takes at most a fifth of the
# time.
_REST = 4
_CHILDREN = 2
_QUEUED = 8
_KEPT = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of the lake.

    Attributes:
        found: The result of a query; `None` if there is none yet.
        error: Why the newest query has no result.
        age_seconds: How old `found` is.
        waiting_seconds: How long the query that runs now has taken so far.
    """

    found: Any = None
    error: str | None = None
    age_seconds: float = 0.0
    waiting_seconds: float = 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether this is how the lake is now."""
        return self.found is not None and self.error is None and self.age_seconds <= _FRESH_SECONDS

    @property
    def will_be_renewed(self) -> bool:
        """Whether it is old, and a newer result is a moment away."""
        is_old = self.found is not None and self.age_seconds > _OLD_SECONDS
        return is_old and 0 < self.waiting_seconds < _MOMENT_SECONDS


@dataclass(slots=True)
class _Entry:
    found: Any = None
    found_at: float = 0.0
    error: str | None = None
    ended_at: float = float("-inf")
    began_at: float = 0.0
    took_seconds: float = 0.0
    running: Future[None] | None = None


class LakeCache:
    """Keeps the results of queries, and repeats a query when its result is old.

    Args:
        settings: Returns the settings of the lake; called outside the page's request, so it may
            take long.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(_CHILDREN, thread_name_prefix="lake-page")
        self._entries: OrderedDict[tuple[Any, ...], _Entry] = OrderedDict()
        self._lock = Lock()

    def see(self, name: str, *, old_will_do: bool = False, **arguments: Any) -> Seen:
        """What is known; waits for less than a second.

        Args:
            name: A function of `lotus_lake.observe.page_queries`.
            old_will_do: Do not wait if anything is known.
            arguments: Of that function.
        """
        entry, running = self._begin(name, arguments)
        if running is not None and not (old_will_do and entry.found is not None):
            wait([running], _PATIENCE_SECONDS)
        with self._lock:
            return self._seen(entry)

    def _begin(self, name: str, arguments: dict[str, Any]) -> tuple[_Entry, Future[None] | None]:
        """The query that runs, started now if what is known is old."""
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
                entry.running = self._pool.submit(self._fetch, entry, name, arguments)
            self._forget()
            return entry, entry.running

    def _fetch(self, entry: _Entry, name: str, arguments: dict[str, Any]) -> None:
        found, error = None, None
        try:
            found = query(self._settings(), name, **arguments)
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
