"""The command `ui`: the lake in DuckDB's UI, or at a prompt."""

from __future__ import annotations

import signal
from typing import Annotated

import duckdb
import typer

from lotus_lake.cli.arguments import LOOK
from lotus_lake.cli.output import reading, say
from lotus_lake.cli.query import print_answer
from lotus_lake.config.settings import Settings
from lotus_lake.error_translation import one_line
from lotus_lake.errors import PermanentError, SettingsError
from lotus_lake.lake.extensions import load_extension
from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.observe.query import run_query

_LIMIT = 100


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(name="ui", rich_help_panel=LOOK)(open_ui)


def open_ui(
    port: Annotated[int, typer.Option(help="Port of the UI on this machine.")] = 4213,
    prompt: Annotated[bool, typer.Option("--prompt", help="Do not try DuckDB's UI.")] = False,
) -> None:
    """Open the lake read-only in DuckDB's UI; where that cannot be had, at a prompt for queries.

    The UI is DuckDB's extension `ui`: it is downloaded once, and fetches its pages from
    ui.duckdb.org. Whoever may use this machine may use it while it runs.

    Example: lotus-lake ui
    """
    settings = Settings.from_env()
    if not prompt:
        with reading(settings) as lake:
            if _serve(lake, port):
                return
    say(f"Queries end with `;`, and show {_LIMIT} rows. Ctrl-D ends.")
    while (sql := _read()) is not None:
        if sql.strip(" ;\n"):
            _answer(settings, sql)


def _serve(lake: Lake, port: int) -> bool:
    """Serve DuckDB's UI until Ctrl-C; whether that was possible."""
    try:
        load_extension(lake.con, "ui")
        lake.con.execute(f"USE {LAKE}.main")
        lake.con.execute(f"SET ui_local_port = {port}")
        lake.con.execute("CALL start_ui_server()")
    except (duckdb.Error, SettingsError) as error:
        say(f"DuckDB's UI cannot be had here: {one_line(error)}")
        return False
    say(f"http://localhost:{port} shows the lake, read-only; Ctrl-C ends")
    signal.pause()
    return True


def _read() -> str | None:
    """Lines up to one that ends with `;`; `None` at the end of the input."""
    lines: list[str] = []
    while not lines or not lines[-1].rstrip().endswith(";"):
        try:
            lines.append(input("lake> " if not lines else "  ... "))
        except EOFError:
            return "\n".join(lines) if lines else None
    return "\n".join(lines)


def _answer(settings: Settings, sql: str) -> None:
    try:
        with reading(settings) as lake:
            answer = run_query(lake, sql, limit=_LIMIT)
    except PermanentError as error:
        say(str(error))
        return
    print_answer(answer, as_json=False, as_csv=False)
    if answer.is_cut:
        say(f"only the first {_LIMIT} rows")
