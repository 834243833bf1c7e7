"""A backend of OpenLineage that keeps its events, and what its client says of an event."""

from __future__ import annotations

import json
import pkgutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attr
from openlineage.client import generated
from openlineage.client.generated import base

Event = dict[str, Any]


@dataclass
class Backend:
    """A backend that keeps all that it is sent."""

    url: str
    bodies: list[bytes] = field(default_factory=list)

    @property
    def events(self) -> list[Event]:
        """All events, in the order of their times."""
        return sorted(map(json.loads, list(self.bodies)), key=lambda event: event["eventTime"])

    def of(self, job: str, kind: str = "COMPLETE") -> list[Event]:
        """Events of a job that have outputs or inputs."""
        return [
            event
            for event in self.events
            if event["job"]["name"] == job
            and event["eventType"] == kind
            and (event["outputs"] or event["inputs"])
        ]


@contextmanager
def run_backend() -> Iterator[Backend]:
    """Run one on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/v1/lineage"
            backend.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(201)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        backend = Backend(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield backend
        server.shutdown()


def problems_of(event: Event) -> list[str]:
    """Where datasets are not what the client's classes, made from the specification, say."""
    found: list[str] = []
    places: list[tuple[str, dict[str, Any]]] = []
    for side in ("inputs", "outputs"):
        for dataset in event[side]:
            base.Dataset(dataset["namespace"], dataset["name"])
            places.append((side, dataset.get("facets", {})))
            places.append((side, dataset.get(f"{side[:-1]}Facets", {})))
    for place, facets in places:
        for name, facet in facets.items():
            cls = _CLASSES.get(facet["_schemaURL"])
            if cls is None:
                found.append(f"{place}.{name}: nobody knows {facet['_schemaURL']}")
                continue
            of = {"inputs": base.InputDatasetFacet, "outputs": base.OutputDatasetFacet}
            wrong = tuple(other for kind, other in of.items() if kind != place)
            if issubclass(cls, wrong):
                found.append(f"{place}.{name}: it belongs to the other side")
            found += _problems(cls, facet, f"{place}.{name}")
    return found


def _problems(cls: type, value: Any, place: str) -> list[str]:
    hints = get_type_hints(cls)
    fields = {a.alias or a.name: a for a in attr.fields(cls)}
    fields = {name if name in value else a.name: a for name, a in fields.items()}
    unknown = value.keys() - fields.keys() - {"_deleted", "_producer", "_schemaURL"}
    missing = {n for n, a in fields.items() if a.default is attr.NOTHING} - value.keys()
    found = [f"{place}: unknown {sorted(unknown)}"] if unknown else []
    found += [f"{place}: missing {sorted(missing)}"] if missing else []
    for name in value.keys() & fields.keys():
        found += _of_type(hints[fields[name].name], value[name], f"{place}.{name}")
    return found


def _of_type(hint: Any, value: Any, place: str) -> list[str]:
    options = [h for h in (get_args(hint) if is_union(hint) else (hint,)) if h is not type(None)]
    if value is None and len(options) < len(get_args(hint)):
        return []
    found = [_as(option, value, place) for option in options]
    return min(found, key=len, default=[])


def is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _as(hint: Any, value: Any, place: str) -> list[str]:
    """Where a value is not of one type."""
    if get_origin(hint) is list and isinstance(value, list):
        return [p for one in value for p in _of_type(get_args(hint)[0], one, f"{place}[]")]
    if get_origin(hint) is dict and isinstance(value, dict):
        of = get_args(hint)[1]
        return [p for name, one in value.items() for p in _of_type(of, one, f"{place}.{name}")]
    if attr.has(hint) and isinstance(value, dict):
        return _problems(hint, value, place)
    fits = hint is Any or (isinstance(hint, type) and isinstance(value, hint))
    return [] if fits else [f"{place}: {value!r} is no {hint}"]


def _classes() -> dict[str, type]:
    found: dict[str, type] = {}
    for info in pkgutil.iter_modules(generated.__path__):
        module = import_module(f"{generated.__name__}.{info.name}")
        for cls in vars(module).values():
            is_facet = isinstance(cls, type) and issubclass(cls, base.BaseFacet)
            if is_facet and cls.__module__ != base.__name__:
                found[cls._get_schema()] = cls
    return found


_CLASSES = _classes()
