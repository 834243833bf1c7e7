"""What the dbt project says, read from its files: dbt itself takes seconds to parse them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from lotus_lake.validation.problems import Problem
from lotus_lake.validation.yaml_lines import LINE, line_of, load_with_lines

_JINJA_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_CONFIG = re.compile(r"\{\{-?\s*config\((.*?)\)\s*-?\}\}", re.DOTALL)
_LANDED_ROWS = re.compile(r"landed_rows\(\s*['\"](\w*)['\"]\s*,\s*['\"](\w*)['\"]\s*\)")
_NEWEST_WINS = re.compile(
    r"newest_wins\(\s*['\"]([^'\"]*)['\"]\s*(?:,\s*['\"]([^'\"]*)['\"]\s*)?\)"
)
_CTE = re.compile(r"\b(\w+)\s+as\s+(?:not\s+)?(?:materialized\s*)?\(", re.IGNORECASE)
_STRING_OR_COMMENT = re.compile(r"'[^']*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
# A list of columns that the text alone tells: no star, no block, no macro in place of a column.
_LISTING = re.compile(r"\s*select\b", re.IGNORECASE)
_UNLISTED = re.compile(r"\*|\{%|(?:\bselect|,)\s*\{\{[^}]*\}\}\s*(?:,|\bfrom\b)", re.IGNORECASE)
_PARENTHESIS = re.compile(r"[()]")
# A value that only dbt can work out, such as `var('x')`.
UNKNOWN = object()


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a macro in a model: its arguments, None for one that is left out, and its line."""

    arguments: tuple[str | None, ...]
    line: int


@dataclass(frozen=True, slots=True)
class ModelProperties:
    """What a YAML says about a model."""

    file: Path
    line: int
    description: str
    columns: Mapping[str, Mapping[str, Any]]
    tests: tuple[Any, ...]
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ProcessedModel:
    """A SQL file below `models/processed`.

    Attributes:
        file: The file.
        config: Its config, from dbt_project.yml, its YAML and itself; the latter wins.
        line: Where the SQL calls `config`.
        landed: Calls of `landed_rows`.
        newest: Calls of `newest_wins`.
        listing: Text of each of its CTEs that lists all its columns by name.
        properties: What YAMLs say about it; more than one is an error of dbt.
    """

    file: Path
    config: Mapping[str, Any]
    line: int
    landed: tuple[Call, ...]
    newest: tuple[Call, ...]
    listing: Mapping[str, str]
    properties: tuple[ModelProperties, ...] = ()

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.file.stem

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return _texts(self.config.get("tags"))

    @property
    def unique_key(self) -> tuple[str, ...]:
        """Columns of its key; empty if there is none."""
        return _texts(self.config.get("unique_key"))


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table that a YAML declares as a dbt source."""

    file: Path
    line: int
    source: str
    name: str
    identifier: str
    schema: str


@dataclass(frozen=True, slots=True)
class DbtFiles:
    """The dbt project, as far as feeding streams needs it."""

    models: tuple[ProcessedModel, ...] = ()
    sources: tuple[SourceTable, ...] = ()
    problems: tuple[Problem, ...] = field(default=())


def read_dbt_files(dbt_dir: Path) -> DbtFiles:
    """Read the processed models, and the sources of all models."""
    problems: list[Problem] = []
    properties: dict[str, list[ModelProperties]] = {}
    sources: list[SourceTable] = []
    for path in sorted((dbt_dir / "models").rglob("*.y*ml")):
        document = _yaml(path, problems)
        for name, entry in _properties(path, document):
            properties.setdefault(name, []).append(entry)
        sources += _sources(path, document)
    project = _yaml(dbt_dir / "dbt_project.yml", problems)
    models = [
        _model(path, _folder_config(project, path.relative_to(dbt_dir / "models")), problems)
        for path in sorted((dbt_dir / "models" / "processed").rglob("*.sql"))
    ]
    return DbtFiles(
        models=tuple(_with_properties(model, properties.get(model.name, ())) for model in models),
        sources=tuple(sources),
        problems=tuple(problems),
    )


def _yaml(path: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        document = load_with_lines(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or error
        problems.append(
            Problem(path, f"cannot be read: {reason}", line=mark.line + 1 if mark else 0)
        )
        return {}
    return document if isinstance(document, dict) else {}


def _properties(path: Path, document: Mapping[str, Any]) -> Iterator[tuple[str, ModelProperties]]:
    for model in _mappings(document.get("models")):
        columns = {str(c.get("name")): c for c in _mappings(model.get("columns"))}
        yield (
            str(model.get("name")),
            ModelProperties(
                file=path,
                line=line_of(model),
                description=str(model.get("description") or ""),
                columns=columns,
                tests=tests_of(model),
                config=_plain(model.get("config")),
            ),
        )


def tests_of(mapping: Mapping[str, Any]) -> tuple[Any, ...]:
    """Data tests of a model or a column, under either name that dbt knows."""
    found = [mapping.get(word) for word in ("data_tests", "tests")]
    return tuple(test for tests in found if isinstance(tests, list) for test in tests)


def _sources(path: Path, document: Mapping[str, Any]) -> Iterator[SourceTable]:
    for source in _mappings(document.get("sources")):
        name = str(source.get("name"))
        for table in _mappings(source.get("tables")):
            yield SourceTable(
                file=path,
                line=line_of(table),
                source=name,
                name=str(table.get("name")),
                identifier=str(table.get("identifier") or table.get("name")),
                schema=str(source.get("schema") or name),
            )


def _model(path: Path, inherited: Mapping[str, Any], problems: list[Problem]) -> ProcessedModel:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(path, f"cannot be read: {error}"))
        text = ""
    # Comments go, their lines stay, so that the lines of what is left are right.
    text = _JINJA_COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    config, line = dict(inherited), 0
    for match in _CONFIG.finditer(text):
        line = _line(text, match)
        config |= _arguments(match[1])
    return ProcessedModel(
        file=path,
        config=config,
        line=line,
        landed=_calls(_LANDED_ROWS, text),
        newest=_calls(_NEWEST_WINS, text),
        listing=dict(_listings(_STRING_OR_COMMENT.sub("", text))),
    )


def _arguments(text: str) -> dict[str, Any]:
    """Keyword arguments of a call in a template: literals as they are, all else as `UNKNOWN`."""
    try:
        call = ast.parse(f"config({text.strip()})", mode="eval").body
    except SyntaxError:
        return {"tags": UNKNOWN, "unique_key": UNKNOWN, "materialized": UNKNOWN}
    assert isinstance(call, ast.Call)  # noqa: S101  by construction
    return {word.arg: _literal(word.value) for word in call.keywords if word.arg}


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNKNOWN


def _calls(pattern: re.Pattern[str], text: str) -> tuple[Call, ...]:
    return tuple(Call(match.groups(), _line(text, match)) for match in pattern.finditer(text))


def _listings(text: str) -> Iterator[tuple[str, str]]:
    """Name and text of each CTE that lists all its columns by name."""
    for start in _CTE.finditer(text):
        depth = 1
        for mark in _PARENTHESIS.finditer(text, start.end()):
            depth += 1 if mark[0] == "(" else -1
            if not depth:
                body = text[start.end() : mark.start()]
                if _LISTING.match(body) and not _UNLISTED.search(body):
                    yield start[1], body
                break


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1


def _folder_config(project: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What dbt_project.yml configures for all models of the folders above one."""
    level = project.get("models")
    config: dict[str, Any] = {}
    for folder in (str(project.get("name")), *path.parts[:-1], path.stem):
        level = level.get(folder) if isinstance(level, dict) else None
        for word, value in (level or {}).items() if isinstance(level, dict) else ():
            if str(word).startswith("+"):
                config[str(word)[1:]] = value
    return config


def _with_properties(
    model: ProcessedModel, properties: Sequence[ModelProperties]
) -> ProcessedModel:
    config = dict(model.config)
    for entry in properties:
        config = {**entry.config, **config, "tags": _all_tags(entry.config, config)}
    return replace(model, config=config, properties=tuple(properties))


def _all_tags(*configs: Mapping[str, Any]) -> Any:
    """Tags add up where other settings replace each other."""
    if any(config.get("tags") is UNKNOWN for config in configs):
        return UNKNOWN
    return [tag for config in configs for tag in _texts(config.get("tags"))]


def _plain(mapping: Any) -> dict[str, Any]:
    items = mapping.items() if isinstance(mapping, dict) else ()
    return {str(key): value for key, value in items if key != LINE}


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
