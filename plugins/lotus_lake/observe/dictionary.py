"""The data dictionary: dbt's own page of models, tests and lineage, with columns of landing tables.

dbt brings the page as one file with two gaps, for its manifest and for a catalog of columns. They
are filled from the manifest and the stream configs alone: no lake, no dbt process, no secret.

Whoever describes a model or a field writes into this page. Its data cannot end the script that
holds it; only scripts that dbt's file has run, by their digests; and nothing is loaded or sent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import resource
import signal
from collections.abc import Collection, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from lotus_lake.child_processes import read_task
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, load_streams, source_schema
from lotus_lake.errors import PermanentError
from lotus_lake.landing.tables import landing_columns
from lotus_lake.landing.types import column_name
from lotus_lake.project.manifest import built_models, manifest_file

_GAPS = '"MANIFEST.JSON INLINE DATA"', '"CATALOG.JSON INLINE DATA"'
_SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL)
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; script-src "
)
_SECONDS = 30
_DATA_BYTES = 2 * 1024**3
# What the page shows of the project as a whole; the rest is about the machine that parsed it.
_METADATA = ("dbt_schema_version", "dbt_version", "generated_at", "project_name", "adapter_type")
# Its first page, in place of one about dbt; `{% docs __overview__ %}` of a project wins.
_OVERVIEW = """
### The tables of the lake

* **Sources** are landing tables: the rows of Airbyte's files as they were sent. One per stream.
* **processed** has the newest version of each record. One table per stream.
* **enriched** has what people ask: tables that join and count. One folder per domain.

The button at the bottom right draws what a table is made from. The Lake page of Airflow shows
what stands in a table, and how old it is.
"""
_BLOCK = {"name": "__overview__", "package_name": "dbt", "block_contents": _OVERVIEW}


def dictionary(settings: Settings, tables: Collection[str] | None = None) -> tuple[str, str]:
    """The page, and the content security policy that it needs and contains.

    Args:
        settings: Of the lake; only files of the checkout are read.
        tables: Models to show, with what they read; all by default.

    Raises:
        PermanentError: There is no manifest, or the installed dbt brings another page.
    """
    manifest = manifest_file(settings.project_dir)
    if not manifest.exists():
        raise PermanentError(
            f"{manifest} is missing", hint="`lotus-lake validate` parses the dbt project"
        )
    chosen = set(built_models(settings.project_dir) if tables is None else tables)
    document = _shown(json.loads(manifest.read_text(encoding="utf-8")), chosen)
    streams = {s.landing_table: s for s in load_streams(settings.streams_dir)[0]}
    for source in document["sources"].values():
        if source["identifier"] in streams:
            source["columns"] = _landing(settings, streams[source["identifier"]])
    page = _template()
    for gap, data in zip(_GAPS, (document, _catalog(document)), strict=True):
        page = page.replace(gap, _inert(data))
    policy = _POLICY + " ".join(_digests(page))
    meta = f'<meta http-equiv="content-security-policy" content="{policy}">'
    return page.replace("<head>", f"<head>{meta}", 1), policy


def _template() -> str:
    """The file of dbt; none of its modules is imported."""
    try:
        file = Path(str(distribution("dbt-core").locate_file("dbt/task/docs/index.html")))
        text = file.read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError) as error:
        raise PermanentError(f"dbt's page of docs cannot be read: {error}") from error
    if any(text.count(gap) != 1 for gap in _GAPS) or "<head>" not in text:
        raise PermanentError(f"{file} is not the page that dbt 1.11 brings: it has other gaps")
    return text


def _shown(manifest: dict[str, Any], tables: Collection[str]) -> dict[str, Any]:
    """The part of a manifest that is about some models, their tests and sources."""
    nodes: dict[str, Any] = manifest["nodes"]
    models = {
        key: node
        for key, node in nodes.items()
        if node["resource_type"] == "model" and node["name"] in tables
    }
    read = {parent for node in models.values() for parent in node["depends_on"]["nodes"]}
    sources = {key: source for key, source in manifest["sources"].items() if key in read}
    tests = {
        key: node
        for key, node in nodes.items()
        if node["resource_type"] == "test"
        and node["depends_on"]["nodes"]
        and {*node["depends_on"]["nodes"]} <= models.keys() | sources.keys()
    }
    project = manifest["metadata"]["project_name"]
    kept = models | tests | sources
    return {
        "metadata": {name: manifest["metadata"][name] for name in _METADATA},
        "nodes": models | tests,
        "sources": sources,
        "macros": _of_project(manifest["macros"], project),
        "docs": {"doc.dbt.__overview__": _BLOCK} | _of_project(manifest["docs"], project),
        **{name: _among(manifest[name], kept) for name in ("parent_map", "child_map")},
        **{name: {} for name in _UNUSED},
    }


# Kinds of nodes that this project has none of, and unit tests, whose data is made up.
_UNUSED = (
    "exposures", "metrics", "groups", "selectors", "disabled", "group_map", "saved_queries",
    "semantic_models", "unit_tests", "functions",
)  # fmt: skip


def _of_project(nodes: Mapping[str, Any], project: str) -> dict[str, Any]:
    return {key: node for key, node in nodes.items() if node["package_name"] == project}


def _among(edges: Mapping[str, list[str]], kept: Collection[str]) -> dict[str, list[str]]:
    return {key: [to for to in ends if to in kept] for key, ends in edges.items() if key in kept}


def _landing(settings: Settings, stream: Stream) -> dict[str, Any]:
    """Columns of a landing table, as a manifest has them."""
    said = {
        column_name(name, field): field.description for name, field in stream.config.fields.items()
    }
    types = landing_columns(stream, source_schema(settings.sources_dir, stream))
    return {
        name: {"name": name, "description": said.get(name) or "", "data_type": kind, "tags": []}
        for name, kind in types.items()
    }


def _catalog(document: Mapping[str, Any]) -> dict[str, Any]:
    """The columns with their types, as far as the project declares these."""
    return {
        "metadata": document["metadata"],
        "nodes": _tables(document["nodes"].values()),
        "sources": _tables(document["sources"].values()),
        "errors": None,
    }


def _tables(nodes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        node["unique_id"]: {
            "unique_id": node["unique_id"],
            "metadata": {
                "type": "BASE TABLE", "database": node["database"], "schema": node["schema"],
                "name": node.get("identifier") or node["alias"], "comment": None, "owner": None,
            },
            "columns": {
                name: {
                    "name": name, "index": number, "comment": None,
                    "type": column.get("data_type") or "",
                }
                for number, (name, column) in enumerate(node["columns"].items(), start=1)
            },
            "stats": {},
        }
        for node in nodes
        if node["resource_type"] in ("model", "source")
    }  # fmt: skip


def _inert(data: Mapping[str, Any]) -> str:
    """JSON that stays within its script, whatever its texts say."""
    return json.dumps(data).replace("<", "\\u003c")


def _digests(page: str) -> list[str]:
    return [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in _SCRIPT.findall(page)
    ]


def main() -> None:
    """Print page and policy as JSON, for a caller that has no memory to spare for a manifest."""
    signal.alarm(_SECONDS)  # even if the caller is gone by then
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES, _DATA_BYTES))
    print(json.dumps(dictionary(*read_task())))


if __name__ == "__main__":
    main()
