"""The docs say what is there: commands, targets, links, variables, checks and errors."""

from __future__ import annotations

import inspect
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lotus_lake import errors
from lotus_lake.cli import app
from lotus_lake.cli.reference import CLI_PAGE, cli_page
from lotus_lake.cli.reference_stream import STREAM_PAGE, stream_page
from lotus_lake.doctor import catalog, environment, flow, lake, machine, store
from lotus_lake.doctor.findings import name_of

PROJECT = Path(__file__).resolve().parents[2]
README = PROJECT / "README.md"
PAGES = [
    README,
    PROJECT / "CONTRIBUTING.md",
    PROJECT / "CHANGELOG.md",
    PROJECT / "include" / "airbyte" / "terraform" / "README.md",
    *sorted((PROJECT / "docs").glob("*.md")),
]
TEXTS = {str(page.relative_to(PROJECT)): page.read_text(encoding="utf-8") for page in PAGES}
ROOT: Any = typer.main.get_command(app)
PROGRAM = "lotus-lake"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)
_PATH = re.compile(r"(?:[a-z_]+/)+(?:[a-z_]+\.(?:py|sql|yml))?")
_VARIABLE = re.compile(r"(?<!\w)(?:LAKE|AIRBYTE)_[A-Z][A-Z0-9_]*")
_USAGE = re.compile(r"\[OPTIONS\]|\[ARGS\]")
_MAKE = re.compile(r"(?:^|`)make ([a-z][a-z0-9-]*)", re.MULTILINE)


def _blocks(text: str) -> Iterator[str]:
    """Commands of the code blocks, without the answers that a console shows."""
    for language, code in _FENCE.findall(text):
        lines = code.replace("\\\n", " ").splitlines()
        if language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            lines = [line for line in lines if not _USAGE.search(line)]
        if language in ("bash", "console"):
            yield from lines


def _calls(line: str) -> Iterator[list[str]]:
    """The words of each call of the program in a line of shell."""
    words: list[str] = []
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for token in [*lexer, ";"]:
        if not set(token) <= set("();<>|&"):
            words.append(token)
            continue
        if words and words[0] == PROGRAM:
            yield words[1:]
        words = []


def _find(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and the arguments that follow."""
    command, rest = ROOT, words
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def _prose(text: str) -> str:
    return _FENCE.sub("", text)


CALLS = [
    pytest.param(words, id=f"{name}: {' '.join(words)}")
    for name, text in TEXTS.items()
    for line in _blocks(text)
    if PROGRAM in line
    for words in _calls(line)
]
MENTIONS = [
    pytest.param(words, id=f"{name}: {' '.join(words)}")
    for name, text in TEXTS.items()
    for code in _INLINE.findall(_prose(text))
    if code.startswith(f"{PROGRAM} ") and ":" not in code
    for words in _calls(" ".join(code.split()))
]


@pytest.mark.parametrize("words", CALLS)
def test_a_command_of_a_code_block_can_be_run_like_that(words: list[str]) -> None:
    command, arguments = _find(words)
    if "--install-completion" in arguments:
        return
    assert not hasattr(command, "commands"), "a group does nothing by itself"
    command.make_context(command.name, list(arguments))


@pytest.mark.parametrize("words", MENTIONS)
def test_a_command_that_is_mentioned_has_the_options_that_are_shown(words: list[str]) -> None:
    command, arguments = _find(words)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in arguments if word.startswith("-")} <= known


def test_commands_are_found_in_most_pages() -> None:
    assert len(CALLS) > 70
    assert len(MENTIONS) > 40
    assert [words[:2] for words in _calls("(cd x && lotus-lake a b) | lotus-lake c > d")] == [
        ["a", "b"],
        ["c"],
    ]


@pytest.mark.parametrize("name", TEXTS)
def test_every_make_target_that_is_named_exists(name: str) -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    code = "\n".join(_blocks(TEXTS[name])) + "\n"
    code += "\n".join(
        f"`{' '.join(span.split())}`" for span in _INLINE.findall(_prose(TEXTS[name]))
    )
    assert set(_MAKE.findall(code)) <= targets


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_leads_somewhere(name: str) -> None:
    page, broken = PROJECT / name, []
    for inline, reference in _LINK.findall(_prose(TEXTS[name])):
        link = inline or reference
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_path_of_the_table_of_decisions_exists() -> None:
    _, _, table = TEXTS["docs/architecture.md"].partition("\n## Where each thing is decided\n")
    paths = [span for span in _INLINE.findall(table) if _PATH.fullmatch(span)]
    assert len(paths) > 30
    roots = (PROJECT, PROJECT / "plugins" / "lotus_lake")
    assert [path for path in paths if not any((root / path).exists() for root in roots)] == []


@pytest.mark.parametrize("name", TEXTS)
def test_every_variable_that_is_named_is_read_by_the_code(name: str) -> None:
    read = {
        variable
        for path in (PROJECT / "plugins").rglob("*.py")
        for variable in re.findall(r'"((?:LAKE|AIRBYTE)_[A-Z0-9_]+)"', path.read_text("utf-8"))
    }
    assert "LAKE_CATALOG" in read
    assert set(_VARIABLE.findall(TEXTS[name])) <= read


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (PROJECT / name).parent.joinpath(link.partition("#")[0]).resolve()
        for name, text in TEXTS.items()
        for link, _ in _LINK.findall(text)
    }
    assert set(PAGES) - linked <= {README}


def test_the_reference_of_the_stream_config_is_current() -> None:
    text = (PROJECT / STREAM_PAGE).read_text(encoding="utf-8")
    assert text == stream_page(), "run: make docs"


@pytest.mark.parametrize("has_docs", [True, False])
def test_landing_derives_the_reference_where_there_are_docs(
    has_docs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LAKE_STREAMS_DIR", "LAKE_CATALOG", "LAKE_DATA_PATH", "LAKE_RAW_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAKE_PROJECT_DIR", str(tmp_path))
    if has_docs:
        (tmp_path / "docs").mkdir()
    (tmp_path / "include" / "streams").mkdir(parents=True)
    files = 1 + has_docs
    stale = CliRunner().invoke(app, ["landing", "--check"])
    assert (stale.exit_code, stale.stdout.count("stale ")) == (1, files)
    written = CliRunner().invoke(app, ["landing"])
    assert (written.exit_code, written.stdout.count("wrote ")) == (0, files)
    assert (tmp_path / STREAM_PAGE).exists() == has_docs
    assert CliRunner().invoke(app, ["landing", "--check"]).exit_code == 0


def test_the_reference_of_the_commands_is_current() -> None:
    assert (PROJECT / CLI_PAGE).read_text(encoding="utf-8") == cli_page(), "run: make docs"


def test_every_command_has_an_example_and_prints_json() -> None:
    sections = re.split(r"^##+ ", cli_page(), flags=re.MULTILINE)[1:]
    commands = [text for text in sections if "**Commands**" not in text]
    assert len(commands) > 20
    assert [text.partition("\n")[0] for text in commands if "```bash" not in text] == []
    without_json = [text.partition("\n")[0] for text in commands if "`--json`" not in text]
    # A page, and a person in front of a prompt.
    assert without_json == ["`lotus-lake dictionary`", "`lotus-lake ui`"]


def test_the_doctors_checks_and_all_errors_are_in_the_page_on_troubleshooting() -> None:
    text = TEXTS["docs/troubleshooting.md"]
    checks = (
        *environment.CHECKS, *machine.CHECKS, *store.ALL, *catalog.CHECKS, *catalog.OPEN,
        *catalog.POSTGRES, *lake.CHECKS, *flow.CHECKS,
    )  # fmt: skip
    classes = [
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Exception)
    ]
    assert len(checks) > 20
    assert len(classes) > 10
    assert [name for name in map(name_of, checks) if f"| `{name}` |" not in text] == []
    assert [name for name in classes if f"`{name}`" not in text] == []


def test_every_option_of_a_backfill_is_explained() -> None:
    text = TEXTS["docs/backfill-and-replay.md"]
    options = [
        name
        for parameter in ROOT.commands["backfill"].params
        for name in parameter.opts
        if name.startswith("--") and name != "--help"
    ]
    assert "--connection-id" in options
    assert [name for name in options if not re.search(rf"[` ]{name}[` ]", text)] == []


def _anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in _HEADING.findall(_prose(page.read_text(encoding="utf-8"))):
        words = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        anchors.add(f"{words}-{seen[words]}" if seen[words] else words)
        seen[words] += 1
    return anchors
