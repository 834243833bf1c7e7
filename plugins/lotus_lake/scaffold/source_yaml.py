"""The dbt source of a stream: a new YAML, or an entry in one that keeps every byte it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lotus_lake.config.streams import Stream
from lotus_lake.errors import ScaffoldError
from lotus_lake.scaffold import naming
from lotus_lake.scaffold.yaml_text import entry


def sources_file(models_dir: Path, source: str) -> Path:
    """Where the landing tables of a source are declared."""
    return models_dir / "processed" / source / f"_{source}__sources.yml"


def with_source_entry(text: str, stream: Stream, path: Path) -> str:
    """The text of a sources file with the stream's landing table in it.

    Args:
        text: What the file holds; empty if there is none.
        stream: The stream to declare.
        path: The file, for messages.

    Raises:
        ScaffoldError: The file is no YAML, or is written in a way that takes no further line.
    """
    if not text.strip():
        return _new_file(stream)
    source = _find(_compose(text, path), stream.source)
    tables = _member(source, "tables") if source else None
    if isinstance(tables, yaml.SequenceNode) and any(
        _value(table, "name") == stream.name for table in tables.value
    ):
        return text
    if not isinstance(tables, yaml.SequenceNode) or tables.flow_style or not tables.value:
        raise _unwritable(path, stream)
    extended = _insert(text, tables, stream)
    if _data(extended) != _expected(_data(text), stream):
        raise _unwritable(path, stream)
    return extended


def _new_file(stream: Stream) -> str:
    described = (
        f"Landing tables of the {naming.words(stream.source).capitalize()} streams, "
        "one row per record version Airbyte sent."
    )
    lines = [
        "version: 2",
        "",
        "sources:",
        f"  - name: {stream.source}",
        *entry(4, "description", described),
        "    database: lakehouse",
        "    schema: staging",
        "    tables:",
        *_entry_lines(stream, " " * 6),
    ]
    return "\n".join(lines) + "\n"


def _entry_lines(stream: Stream, indent: str) -> list[str]:
    return [
        f"{indent}- name: {stream.name}",
        f"{indent}  identifier: {stream.landing_table}",
        *entry(len(indent) + 2, "description", _description(stream)),
    ]


def _description(stream: Stream) -> str:
    plural = naming.words(stream.name)
    return f"Versions of {plural}. One row per version sent, repeats included."


def _insert(text: str, tables: yaml.SequenceNode, stream: Stream) -> str:
    """The text with the entry after the last table and the comments that belong to it."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    dash = tables.value[-1].start_mark
    indent = lines[dash.line][: lines[dash.line].index("-", 0)]
    after = _last_line(tables.value[-1]) + 1
    while after < len(lines) and _is_comment_below(lines[after], indent):
        after += 1
    if not lines[after - 1].endswith(("\n", "\r")):
        lines[after - 1] += newline
    new = [line + newline for line in _entry_lines(stream, indent)]
    return "".join([*lines[:after], *new, *lines[after:]])


def _is_comment_below(line: str, indent: str) -> bool:
    return line.lstrip().startswith("#") and len(line) - len(line.lstrip()) > len(indent)


def _last_line(node: yaml.Node) -> int:
    """Number of the last line that belongs to a node, counted from 0."""
    if isinstance(node, yaml.ScalarNode | yaml.CollectionNode) and (
        getattr(node, "flow_style", False) or isinstance(node, yaml.ScalarNode)
    ):
        # A block scalar ends where the next token starts: at the beginning of a later line.
        end = node.end_mark
        return end.line if end.column else max(node.start_mark.line, end.line - 1)
    children = [child for pair in node.value for child in (pair if _is_pair(pair) else (pair,))]
    return max((_last_line(child) for child in children), default=int(node.start_mark.line))


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple)


def _compose(text: str, path: Path) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ScaffoldError(f"{path}: not YAML: {error}") from error
    return node


def _find(root: yaml.Node | None, source: str) -> yaml.Node | None:
    sources = _member(root, "sources")
    if not isinstance(sources, yaml.SequenceNode):
        return None
    return next((node for node in sources.value if _value(node, "name") == source), None)


def _member(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _value(node: yaml.Node, key: str) -> str | None:
    member = _member(node, key)
    return str(member.value) if isinstance(member, yaml.ScalarNode) else None


def _data(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _expected(data: Any, stream: Stream) -> Any:
    for source in data["sources"]:
        if source.get("name") == stream.source:
            source["tables"].append(
                {
                    "name": stream.name,
                    "identifier": stream.landing_table,
                    "description": _description(stream),
                }
            )
    return data


def _unwritable(path: Path, stream: Stream) -> ScaffoldError:
    lines = "\n".join(_entry_lines(stream, " " * 6))
    return ScaffoldError(
        f"{path}: the list of tables of source {stream.source} cannot be extended",
        hint=f"add to it by hand:\n{lines}",
    )
