"""`python -m lotus_lake.cli.reference`: the page of the docs about the commands, by typer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click
from typer.core import TyperGroup

from lotus_lake.cli import app
from lotus_lake.cli.reference_stream import derived_by
from lotus_lake.config.project_dir import find_project_dir

CLI_PAGE = Path("docs", "reference-cli.md")
_TITLE = "Reference of the command line"
_EXAMPLE = re.compile(r"^Example: (.*)$", re.MULTILINE)


def cli_page() -> str:
    """Markdown of the whole page."""
    root: Any = typer.main.get_command(app)
    # typer lists hidden commands, which are names of earlier releases.
    root.commands = {name: item for name, item in root.commands.items() if not item.hidden}
    for command in _commands(root):  # or else typer cuts it after 45 characters
        command.short_help = " ".join((command.help or "").partition("\n\n")[0].split())
    docs = get_docs_for_click(obj=root, ctx=typer.Context(root), name="lotus-lake", title=_TITLE)
    docs = _EXAMPLE.sub(r"```bash\n\1\n```", docs.replace("\b", ""))
    return docs.strip().replace("\n", f"\n\n{derived_by('make docs')}\n", 1) + "\n"


def main() -> None:
    """Write the page."""
    file = Path(find_project_dir(os.environ), CLI_PAGE)
    file.write_text(cli_page(), encoding="utf-8")
    typer.echo(f"wrote {file}", err=True)


def _commands(group: object) -> Iterator[Any]:
    for command in group.commands.values() if isinstance(group, TyperGroup) else ():
        yield command
        yield from _commands(command)


if __name__ == "__main__":
    main()
