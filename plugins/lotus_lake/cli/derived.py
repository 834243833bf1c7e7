"""Files that are derived from others: write them, or report which are not current."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from lotus_lake.cli.output import say, show
from lotus_lake.errors import LotusLakeError

Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; fail if a file is not current.")
]


def bring_up_to_date(
    files: Mapping[Path, str | None],
    errors: Sequence[LotusLakeError],
    *,
    command: str,
    check: bool,
    as_json: bool,
) -> None:
    """Write the files whose text has changed, and remove those that are no longer derived.

    Args:
        files: The text of each; `None` for a file that must not exist.
        errors: Why some files cannot be derived; the others are written nevertheless.
        command: The command that brings them up to date, for the hint.
        check: Write nothing; exit with 1 if a file is not current.
        as_json: Print a JSON array with the state of each file.
    """
    rows = []
    for path, text in files.items():
        current = path.read_text(encoding="utf-8") if path.exists() else None
        state = "current" if current == text else "stale"
        if state == "stale" and not check:
            state = "wrote" if text is not None else "removed"
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        rows.append({"file": str(path), "state": state})
    changed = [row for row in rows if row["state"] != "current"]
    if as_json:
        show(rows, as_json=True)
    else:
        for row in changed:
            typer.echo(f"{row['state']} {row['file']}")
    for error in errors:
        say(f"error: {error}")
    say(f"{len(files) - len(changed)} of {len(files)} files were current")
    if check and changed:
        say(f"hint: {command}")
    if errors or (check and changed):
        raise typer.Exit(1)
