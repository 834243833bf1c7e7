"""The documented commands exist, with the options that are shown."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from lotus_lake.cli import app

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENT = PROJECT / "docs" / "backfill-and-replay.md"
LINES = [
    line
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
    if line.startswith("lotus-lake ")
]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("line", LINES)
def test_a_documented_command_can_be_run_like_that(line: str) -> None:
    _, name, *arguments = shlex.split(line, comments=True)
    command = COMMANDS[name]
    context = command.context_class(command)
    _, rest, _ = command.make_parser(context).parse_args(arguments)
    assert rest == []


def test_every_option_of_a_backfill_is_documented() -> None:
    assert len(LINES) >= 4
    text = DOCUMENT.read_text(encoding="utf-8")
    options = {
        name
        for option in COMMANDS["backfill"].params
        for name in option.opts
        if name.startswith("--") and name != "--help"
    }
    assert {name for name in options if f"`{name}" not in text and f" {name} " not in text} == set()
    assert "--connection-id" in options
