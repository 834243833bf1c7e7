"""The command `status`: where streams and enriched models stand."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from lotus_lake.cli.arguments import LOOK
from lotus_lake.cli.output import AsJson, age, reading, say, show
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams
from lotus_lake.observe.enriched import EnrichedStatus, read_enriched
from lotus_lake.observe.overview import StreamOverview, read_streams
from lotus_lake.project.manifest import built_models
from lotus_lake.quantities import counted, readable_bytes


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=LOOK)(status)


def status(
    enriched: Annotated[
        bool, typer.Option("--enriched", help="Show only the enriched models.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show where every stream and every enriched model stands.

    A stream is `broken` if files are in quarantine or gone, `stuck` if files or landed rows have
    waited for more than LAKE_TASK_TIMEOUT_SECONDS without progress, `late` if its `freshness` says
    so, `empty` before its first file, and `fresh` otherwise.

    `landed` counts the files whose rows have landed, including retired ones. `behind` counts landed
    files that the slowest model has not read yet; it is empty if no model is known to read the
    stream. An enriched model is behind if a model that it reads has changed since it was built.

    A wide terminal also shows the cursor, and how many files were ever seen. JSON has more.

    Example: lotus-lake status --json
    """
    settings = Settings.from_env()
    _, broken = load_streams(settings.streams_dir)
    models = built_models(settings.project_dir)
    with reading(settings) as lake:
        found = [] if enriched else read_streams(lake, models, datetime.now(UTC))
        built = read_enriched(lake, models) if enriched or not as_json else []
    if as_json:
        rows = [asdict(row) for row in built] if enriched else [_plain(row) for row in found]
        show(rows, as_json=True)
    else:
        rows = [_stream(row, settings.raw_prefix) for row in found]
        show(rows, as_json=False, dispensable=("cursor", "seen"))
        typer.echo() if found and built else None
        show([_model(row) for row in built], as_json=False)
    if not enriched and not any(stream.status.seen for stream in found):
        say("nothing has been fed yet")
    for error in broken:
        say(f"error: {error}")
    if broken:
        raise typer.Exit(1)


def _plain(row: StreamOverview) -> dict[str, Any]:
    verdict = {"state": row.verdict.state, "level": row.verdict.level, "reason": row.verdict.reason}
    days = {"rows_today": row.rows_today, "rows_usual": row.rows_usual}
    seen = {"acknowledged_by": row.acknowledged.by if row.acknowledged else None}
    models = {"models": [asdict(lag) for lag in row.models]}
    return asdict(row.status) | verdict | seen | days | models


def _stream(found: StreamOverview, raw_prefix: str) -> dict[str, Any]:
    row = found.status
    cursor = (row.cursor or "").removeprefix(f"{raw_prefix}{row.stream}/")
    since = f" since {age(row.oldest_waiting_at)}" if row.oldest_waiting_at else ""
    remarks = [
        f"{row.waiting} waiting ({readable_bytes(row.waiting_bytes)}){since}"
        if row.waiting
        else "",
        f"{row.quarantined} QUARANTINED" if row.quarantined else "",
        f"{row.missing} MISSING" if row.missing else "",
        "UNBALANCED" if any(f.condition == "unbalanced" for f in found.findings) else "",
        f"seen by {found.acknowledged.by}" if found.acknowledged else "",
        f"{row.copied} copied" if row.copied else "",
        f"{counted(row.rescued, 'row')} with rescued values" if row.rescued else "",
        "" if row.configured else "no config",
    ]
    return {
        "stream": row.stream,
        "state": found.verdict.state,
        "landed": row.landed,
        "rows": row.rows,
        "size": readable_bytes(row.landed_bytes),
        "last landed": age(row.last_landed_at),
        "behind": row.lag_files,
        "seen": row.seen,
        "cursor": re.sub(r"^year=(\d+)/month=(\d+)/day=(\d+)/", r"\1-\2-\3/", cursor),
        "remarks": ", ".join(filter(None, remarks)),
    }


def _model(row: EnrichedStatus) -> dict[str, Any]:
    state = f"behind {', '.join(row.behind)}" if row.behind else "up to date"
    if row.verdict.level in ("warning", "error"):
        state = f"{row.verdict.state}: {row.verdict.reason}"
    return {
        "enriched model": row.model,
        "rows": row.rows if row.built else None,
        "size": readable_bytes(row.size_bytes) if row.built else None,
        "built": (age(row.built_at) or "before the oldest snapshot") if row.built else "not yet",
        "state": state if row.built or row.behind else "",
    }
