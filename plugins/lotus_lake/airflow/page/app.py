"""The page as a FastAPI app, which the api-server mounts: rights, addresses, templates.

Airflow does not guard the apps of plugins: every route here asks for a user, and shows only Dags
that Airflow lets the user read. Routes are plain functions: Airflow runs them outside its event
loop. There are only GET routes; what changes something is Airflow's own form.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_authenticated
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from lotus_lake.airflow.connections import lake_settings
from lotus_lake.airflow.page.filters import SORTS, Choice, askable, choose, domain_dag, visible
from lotus_lake.airflow.page.lake_cache import LakeCache, Seen
from lotus_lake.child_processes import run_module
from lotus_lake.config.project_dir import find_project_dir
from lotus_lake.config.settings import Settings
from lotus_lake.observe.spans import SPANS
from lotus_lake.observe.states import STATES
from lotus_lake.project.manifest import built_models
from lotus_lake.quantities import counted, readable_bytes, readable_seconds

_HERE = Path(__file__).parent
_STATIC = {
    "lake.css": "text/css",
    "lake.js": "text/javascript",
    "lake.svg": "image/svg+xml",
    "lake-dark.svg": "image/svg+xml",
}
# No markup from anywhere but these files runs or loads anything, and nobody else frames the page.
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
_FILES_PER_PAGE = 50
_DICTIONARY_SECONDS = 60
_CONDITION_CHARACTERS, _NAME_CHARACTERS = 1000, 200
# What a user sees who may read no Dag: not even that the lake is down.
_NOTHING = Seen({"at": None, "streams": [], "enriched": []})
_VIEWS = {
    "files": "Files", "plan": "Next run", "activity": "Activity", "rows": "Rows",
    "schema": "Schema", "balance": "Balance",
}  # fmt: skip
_DOMAIN_VIEWS = {"tables": "Tables", "rows": "Rows", "schema": "Schema"}
# What `lake_operations` calls its Dag; its module builds Dags, which is more than a page needs.
_OPERATIONS = "lake_operations"
_EVENTS = (
    "discovered", "registered", "copied", "empty", "quarantined", "ignored", "retired", "replaced",
    "missing",
)  # fmt: skip

app = FastAPI(
    title="Lake",
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    dependencies=[Depends(requires_authenticated())],
)
cache = LakeCache(lake_settings)
templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def as_number(number: float) -> str:
    """A number with separators, and without decimals."""
    return f"{number:,.0f}"


templates.filters |= {
    "bytes": readable_bytes,
    "seconds": readable_seconds,
    "number": as_number,
}
templates.globals |= {
    "counted": counted, "STATES": STATES, "SORTS": SORTS, "SPANS": tuple(SPANS),
    "as_number": as_number, "as_bytes": readable_bytes, "as_seconds": readable_seconds,
}  # fmt: skip


@app.get("/", response_class=HTMLResponse)
def all_streams(request: Request, user: GetUserDep) -> Response:
    """All streams and enriched tables that the user may see."""
    readable = _readable(user)
    # Many streams take the lake seconds: what is known is shown at once, and renewed meanwhile.
    seen = cache.see("overview", old_will_do=True) if readable else _NOTHING
    choice = Choice.of(request.query_params)
    if seen.found is None:
        return _render("waiting.html", seen, title="Lake")
    streams = visible(seen.found["streams"], readable, _paused())
    enriched = [row for row in seen.found["enriched"] if domain_dag(row["domain"]) in readable]
    return _render(
        "overview.html",
        seen,
        title="Lake",
        choice=choice,
        chosen=choose(streams, choice),
        enriched=enriched,
        operations=_may_operate(user),
        dictionary=bool(_described(readable)),
    )


@app.get("/stream", response_class=HTMLResponse)
def one_dag(request: Request, user: GetUserDep) -> Response:
    """The stream, or the enriched tables, of a Dag; one that the user may not read is not there."""
    dag_id = request.query_params.get("dag_id", "")
    readable = _readable(user)
    if dag_id not in readable:
        return _not_there()
    seen = cache.see("overview", old_will_do=True)
    if seen.found is None:
        return _render("waiting.html", seen, title=dag_id)
    for row in visible(seen.found["streams"], {dag_id}, _paused()):
        return _one_stream(request.query_params, row, _may_operate(user))
    enriched = [row for row in seen.found["enriched"] if domain_dag(row["domain"]) == dag_id]
    return _one_domain(request.query_params, dag_id, enriched, seen)


@app.get("/why", response_class=HTMLResponse)
def what_is_behind(request: Request, user: GetUserDep) -> Response:
    """What rows of a table are made from; of a table whose Dags the user may all read."""
    given = request.query_params
    table, column, where = (given.get(name, "").strip() for name in ("table", "column", "where"))
    tables = askable(built_models(find_project_dir(os.environ)), _readable(user))
    seen, problem = Seen(), None
    if table and table not in tables:
        problem = "There is no such table, or you may not read all of its inputs."
    elif len(where) > _CONDITION_CHARACTERS or len(column) > _NAME_CHARACTERS:
        problem = "The condition or the column is too long."
    elif table and where:
        seen = cache.see("why", table=table, where=where, column=column or None)
    return _render(
        "why.html",
        seen,
        title="Why",
        tables=tables,
        asked={"table": table, "where": where, "column": column},
        problem=problem,
    )


@app.get("/dictionary", response_class=HTMLResponse)
def data_dictionary(user: GetUserDep) -> Response:
    """The tables of the dbt project whose Dags the user may all read, in dbt's own page.

    That page is a program with what people wrote of their tables in it: its policy runs that one
    script alone, and a sandbox keeps it from acting as the user.
    """
    tables = _described(_readable(user))
    made = _dictionary(tables, time.time() // _DICTIONARY_SECONDS) if tables else None
    if made is None:
        return _not_there()
    html, policy = made
    policy = f"{policy}; frame-ancestors 'self'; sandbox allow-scripts"
    return HTMLResponse(html, 200, {**_HEADERS, "content-security-policy": policy})


@app.get("/static/{name}")
def static(name: str) -> Response:
    """Style, script and icons."""
    if name not in _STATIC:
        return _not_there()
    headers = {**_HEADERS, "cache-control": "private, max-age=300"}
    return Response((_HERE / "static" / name).read_bytes(), 200, headers, _STATIC[name])


def _one_stream(given: Mapping[str, str], row: Mapping[str, Any], operations: bool) -> Response:
    view = given.get("view", "files") if given.get("view") in _VIEWS else "files"
    source, _, stream = row["status"]["stream"].partition("/")
    wanted, problem = _wanted(view, given)
    seen = Seen() if problem else cache.see(view, source=source, stream=stream, **wanted)
    overview = cache.see("overview", old_will_do=True)  # it may have been renewed meanwhile
    if overview.found is not None:
        renewed = visible(overview.found["streams"], {row["stream_id"]}, _paused())
        row = renewed[0] if renewed else row
    return _render(
        "stream.html",
        overview if problem else seen,
        title=row["stream_id"],
        row=row,
        facts=overview,
        views=_VIEWS,
        view=view,
        tables=[row["status"]["stream"], *(lag["model"] for lag in row["models"])],
        wanted=wanted,
        problem=problem,
        events=_EVENTS,
        per_page=_FILES_PER_PAGE,
        operations=operations,
    )


def _one_domain(
    given: Mapping[str, str], dag_id: str, enriched: Sequence[Mapping[str, Any]], overview: Seen
) -> Response:
    view = given.get("view", "tables") if given.get("view") in _DOMAIN_VIEWS else "tables"
    wanted, _ = _wanted(view, given)
    seen = overview
    if enriched and view != "tables":
        seen = cache.see(f"domain_{view}", domain=enriched[0]["domain"], **wanted)
    return _render(
        "domain.html",
        seen,
        title=dag_id,
        enriched=enriched,
        views=_DOMAIN_VIEWS,
        view=view,
        wanted=wanted,
        tables=[row["status"]["model"] for row in enriched if row["status"]["built"]],
    )


def _wanted(view: str, given: Mapping[str, str]) -> tuple[dict[str, Any], str | None]:
    """What a view of a stream or a domain is asked for, and what is wrong with that."""
    if view == "rows":
        return {"table": given.get("table", "")[:200] or None}, None
    if view == "balance":
        return {"read": given.get("read") == "1"}, None
    if view in ("plan", "schema", "tables"):
        return {}, None
    if view == "activity":
        return {"span": given.get("span") if given.get("span") in SPANS else "week"}, None
    event, day, offset = (given.get(name, "") for name in ("event", "day", "offset"))
    wanted = {
        "event": event if event in _EVENTS else None,
        "day": day or None,
        "key": given.get("key", "")[:1024].strip() or None,
        "limit": _FILES_PER_PAGE,
        "offset": int(offset) if offset.isdecimal() and len(offset) < 9 else 0,
    }
    try:
        date.fromisoformat(day or "2000-01-01")
    except ValueError:
        return wanted, f"{day[:40]!r} is not a day; days are written as 2026-03-10"
    return wanted, None


def _described(readable: set[str]) -> tuple[str, ...]:
    """Tables that the dictionary of a user has; none without a dbt project that parses."""
    return tuple(askable(built_models(find_project_dir(os.environ)), readable))


@lru_cache(maxsize=4)
def _dictionary(tables: tuple[str, ...], _time: float) -> tuple[str, str] | None:
    _, answer = run_module("lotus_lake.observe.dictionary", (Settings.from_env(), tables))
    return (answer[0], answer[1]) if answer else None  # it has said why on standard error


def _readable(user: Any) -> set[str]:
    return get_auth_manager().get_authorized_dag_ids(user=user)


def _may_operate(user: Any) -> bool:
    return bool(
        get_auth_manager().is_authorized_dag(
            method="POST",
            access_entity=DagAccessEntity.RUN,
            details=DagDetails(id=_OPERATIONS),
            user=user,
        )
    )


def _paused() -> set[str]:
    with create_session() as session:
        return set(session.scalars(select(DagModel.dag_id).where(DagModel.is_paused)))


def _not_there() -> Response:
    return _render("missing.html", Seen(), status=404, title="Lake")


def _render(template: str, seen: Seen, *, status: int = 200, **values: Any) -> Response:
    html = templates.get_template(template).render(seen=seen, **values)
    return HTMLResponse(html, status, _HEADERS)
