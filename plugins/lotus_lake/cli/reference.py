"""The reference of the command line, as a page of the docs, derived from the commands.

`python -m lotus_lake.cli.reference` writes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import typer

from lotus_lake.cli import app
from lotus_lake.cli.reference_stream import derived_by, page, table, wrapped
from lotus_lake.config.settings import find_project_dir

CLI_PAGE = Path("docs", "reference-cli.md")
PROGRAM = "lotus-lake"

_INTRODUCTION = """\
`make setup` puts `lotus-lake` into `.venv/bin`; `lotus-lake --install-completion` teaches the shell
the names of commands, sources and streams. `lotus-lake --version` names the versions of lotus-lake,
DuckDB and DuckLake, and the format of the catalogs that they make. Data goes to stdout, all else to
stderr, and `--json` is for scripts. The exit code is 0 when all is well, 1 when something failed or
has to be looked at, 2 when the arguments are wrong; what differs is said with the command.
"""
_EXAMPLE = re.compile(r"^Example: (.*)$", re.MULTILINE)
_KINDS = {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}


def cli_page() -> str:
    """Markdown of the whole page."""
    root: Any = typer.main.get_command(app)
    commands = list(_commands(root, ()))
    overview = [
        [f"[`{' '.join(path)}`](#{'-'.join(path)})", _first_sentence(command.help)]
        for path, command in commands
    ]
    parts = ["# Reference of the command line", derived_by("make docs"), _prose(root.help)]
    parts += [wrapped(_INTRODUCTION), table(["command", "what it does"], overview)]
    for path, command in commands:
        parts += [
            f"## {' '.join(path)}",
            f"```text\n{_usage(path, command)}\n```",
            _prose(command.help),
        ]
        if rows := [_row(parameter) for parameter in _parameters(command)]:
            parts.append(table(["argument or option", "default", "meaning"], rows))
    return page(parts)


def main() -> None:
    """Write the page."""
    file = Path(find_project_dir(os.environ), CLI_PAGE)
    file.write_text(cli_page(), encoding="utf-8")
    typer.echo(f"wrote {file}", err=True)


def _commands(group: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands, those of a group after one another, by what is typed for them."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, (*above, name))
        else:
            yield (*above, name), command


def _parameters(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if not parameter.hidden]


def _usage(path: tuple[str, ...], command: Any) -> str:
    words = [PROGRAM, *path]
    if any(not _is_argument(parameter) for parameter in command.params):
        words.append("[OPTIONS]")
    for parameter in filter(_is_argument, command.params):
        name = _argument(parameter)
        words.append(name if parameter.required else f"[{name}]")
    return " ".join(words)


def _row(parameter: Any) -> list[str]:
    if _is_argument(parameter):
        name = f"`{_argument(parameter)}`"
    else:
        value = "" if parameter.is_flag else f" {_value(parameter)}"
        name = ", ".join(f"`{option}{value}`" for option in parameter.opts)
    return [name, _default(parameter), " ".join((parameter.help or "").split())]


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return f"{name}..." if parameter.nargs == -1 else str(name)


def _value(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type_descriptor.annotation
    kind = next(iter(get_args(kind)), kind)  # of list[str], str
    if issubclass(kind, Enum):
        return "|".join(str(choice.value) for choice in kind)
    return _KINDS[kind]


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None or value is False or value == []:
        return ""
    # 3600.0 and 3600 are the same to those who type it.
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _first_sentence(text: str) -> str:
    """The first sentence of a help text, without its full stop."""
    return " ".join(text.partition("\n\n")[0].split()).removesuffix(".")


def _prose(text: str) -> str:
    """A help text as Markdown: paragraphs in the width of the docs, examples as code."""
    blocks = text.replace("\b", "").strip().split("```")
    parts = []
    for number, block in enumerate(blocks):
        if number % 2:  # between two fences
            parts.append(f"```bash\n{block.strip()}\n```")
            continue
        examples = _EXAMPLE.findall(block)
        if text := wrapped(_EXAMPLE.sub("", block)):
            parts.append(text)
        if examples:
            parts.append("```bash\n" + "\n".join(examples) + "\n```")
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
