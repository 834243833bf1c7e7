"""Which streams and tables the page shows: search, filters and order, and by who asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlencode

from lotus_lake.observe.states import STATES, Verdict, paused
from lotus_lake.project.manifest import Model

PAGE_SIZE = 50

Row = Mapping[str, Any]


def _severity(row: Row) -> tuple[int, int]:
    levels = ("error", "warning", "off", "ok")
    return levels.index(row["verdict"]["level"]), STATES.index(row["verdict"]["state"])


# The greatest first, except for names and states, where the worst is first.
SORTS: Mapping[str, tuple[str, Callable[[Row], Any]]] = {
    "state": ("state", _severity),
    "name": ("name", lambda row: row["stream_id"]),
    "landed": ("last landed", lambda row: row["status"]["last_landed_at"] or ""),
    "waiting": ("waiting", lambda row: row["status"]["waiting_bytes"]),
    "rows": ("rows today", lambda row: row["rows_today"]),
    "lag": ("lag", lambda row: row["status"]["lag_files"] or 0),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What the address of the page asks for; nonsense is left out."""

    q: str = ""
    source: str = ""
    state: str = ""
    sort: str = "state"
    page: int = 1

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Choice:
        """From the parameters of an address."""
        page = given.get("page", "")
        return cls(
            given.get("q", "")[:200].strip(),
            given.get("source", "")[:200],
            given.get("state", "") if given.get("state") in STATES else "",
            given.get("sort", "") if given.get("sort") in SORTS else "state",
            max(1, int(page)) if page.isdecimal() and len(page) < 7 else 1,
        )

    def address(self, **changes: Any) -> str:
        """The parameters of a page that differs in this; back on the first page unless told."""
        chosen = asdict(replace(self, **{"page": 1, **changes}))
        default = asdict(Choice())
        return "?" + urlencode({k: v for k, v in chosen.items() if v != default[k]})


@dataclass(frozen=True, slots=True)
class Chosen:
    """A page of streams.

    Attributes:
        rows: The streams of this page.
        total: Streams that meet search and filters.
        page: Number of this page, which there is.
        pages: Number of pages.
        states: Streams in each state that meet search and source.
        sources: All sources.
        known: Streams that the user may see.
    """

    rows: Sequence[Row]
    total: int
    page: int
    pages: int
    states: Mapping[str, int]
    sources: Sequence[str]
    known: int


def visible(streams: Sequence[Row], readable: set[str], paused_dags: set[str]) -> list[Row]:
    """The streams whose Dags a user may read, with what Airflow knows of them."""
    return [
        {**row, "verdict": asdict(paused(Verdict(**row["verdict"])))}
        if row["stream_id"] in paused_dags
        else row
        for row in streams
        if row["stream_id"] in readable
    ]


def choose(streams: Sequence[Row], choice: Choice) -> Chosen:
    """The streams that a choice asks for."""
    words = choice.q.lower().split()
    found = [
        row
        for row in streams
        if all(word in f"{row['stream_id']} {row['status']['stream']}".lower() for word in words)
        and choice.source in ("", _source(row))
    ]
    states = Counter(row["verdict"]["state"] for row in found)
    if choice.state:
        found = [row for row in found if row["verdict"]["state"] == choice.state]
    found.sort(key=lambda row: str(row["stream_id"]))
    found.sort(key=SORTS[choice.sort][1], reverse=choice.sort not in ("state", "name"))
    pages = max(1, -(-len(found) // PAGE_SIZE))
    page = min(choice.page, pages)
    return Chosen(
        found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE],
        len(found),
        page,
        pages,
        {state: states[state] for state in STATES if states[state]},
        sorted({_source(row) for row in streams}),
        len(streams),
    )


def askable(models: Mapping[str, Model], readable: set[str]) -> list[str]:
    """Tables that a user may follow to their rows: the Dag of each table behind them is readable.

    Args:
        models: Models of the dbt project, by name.
        readable: Ids of the Dags that the user may read.
    """
    return sorted(name for name in models if _behind(models, name) <= readable)


def _behind(models: Mapping[str, Model], name: str) -> set[str]:
    """The Dags of a table, and of all that it is made from; those of streams are its tags."""
    dags, seen, waiting = set[str](), {name}, [name]
    while waiting:
        model = models[waiting.pop()]
        own = {tag for tag in model.tags if "__" in tag}
        if model.layer == "enriched":
            own = {domain_dag(model.folder)}
        dags |= own or {""}  # no Dag builds it, so nobody may read it here
        waiting += {*model.parents} - seen
        seen |= {*model.parents}
    return dags


def domain_dag(domain: str) -> str:
    """Id of the Dag of a folder of enriched models."""
    return f"enriched__{domain}"


def _source(row: Row) -> str:
    return str(row["status"]["stream"]).partition("/")[0]
