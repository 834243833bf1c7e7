"""A stream that is renamed has its new name everywhere, and its objects where they were."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lotus_lake.bucket.keys import layout_of
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream, find_stream
from lotus_lake.errors import ScaffoldError, StreamConfigError
from lotus_lake.project.source_schemas import write_source_schemas
from lotus_lake.scaffold import stream_renaming
from lotus_lake.scaffold.stream_renaming import plan_renaming, rename_files
from lotus_lake.validation import find_problems
from tests.projects import copy_project

OLD = re.compile(
    r"shopify__order_refunds|['\"]order_refunds['\"]|name: order_refunds$", re.MULTILINE
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A copy of this project, with a second model of the stream that its name begins."""
    made = copy_project(tmp_path)
    folder = made.project_dir / "include/dbt/models/processed/shopify"
    for suffix in (".sql", ".yml"):
        text = (folder / f"int_shopify__order_refunds{suffix}").read_text()
        text = text.replace(
            "name: int_shopify__order_refunds\n", "name: int_shopify__order_refunds_late\n"
        )
        text = text.partition("\nunit_tests:")[0] + "\n"
        (folder / f"int_shopify__order_refunds_late{suffix}").write_text(text)
    return made


def refunds(settings: Settings) -> Stream:
    return find_stream(settings.streams_dir, "shopify", "order_refunds")


def texts(settings: Settings) -> dict[str, str]:
    """Every file of the project, by its place."""
    found = (settings.project_dir / "include").rglob("*")
    return {
        str(path.relative_to(settings.project_dir)): path.read_text("utf-8")
        for path in found
        if path.is_file() and "target" not in path.parts and path.name != ".user.yml"
    }


def test_nothing_of_a_project_has_the_old_name(settings: Settings) -> None:
    assert find_problems(settings) == []
    stream = refunds(settings)
    planned = plan_renaming(settings, stream, "refunds")
    assert planned.models == {
        "int_shopify__order_refunds": "int_shopify__refunds",
        "int_shopify__order_refunds_late": "int_shopify__refunds_late",
    }
    assert planned.files[-1].old == settings.streams_dir / "shopify" / "order_refunds.json"
    rename_files(planned)
    left = {
        path: match[0]
        for path, text in texts(settings).items()
        if (match := OLD.search(f"{path}\n{text}"))
    }
    # What Airbyte calls it.
    assert left == {
        "include/sources/shopify/refunds.json": '"order_refunds"',
        "include/streams/shopify/_catalog.json": '"order_refunds"',
        "include/streams/shopify/refunds.json": '"order_refunds"',
    }
    assert find_problems(settings) == []
    renamed = find_stream(settings.streams_dir, "shopify", "refunds")
    assert renamed == planned.renamed
    assert (renamed.name, renamed.stream_name) == ("refunds", "order_refunds")
    assert layout_of(settings, renamed) == layout_of(settings, stream)


def test_a_renaming_that_stopped_anywhere_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(Exception):
        pass

    before, count = texts(settings), 0

    def replace(*paths: Any) -> None:
        nonlocal count
        if count == stop:
            raise StopError
        count += 1
        Path(paths[0]).rename(paths[1])

    steps = len(plan_renaming(settings, refunds(settings), "refunds").files)
    ends = set()
    for stop in range(steps + 1):
        for path in texts(settings).keys() - before.keys():
            (settings.project_dir / path).unlink()
        for path, text in before.items():
            (settings.project_dir / path).write_text(text)
        count = 0
        with monkeypatch.context() as patch:
            patch.setattr(stream_renaming.os, "replace", replace)
            try:
                rename_files(plan_renaming(settings, refunds(settings), "refunds"))
            except StopError:
                assert stop < steps
        if stop < steps:
            rename_files(plan_renaming(settings, refunds(settings), "refunds"))
        found = {path: text for path, text in texts(settings).items() if not path.endswith(".new")}
        ends.add(json.dumps(found, sort_keys=True))
    assert len(ends) == 1


def test_half_of_the_last_file_is_no_other_stream(settings: Settings) -> None:
    planned = plan_renaming(settings, refunds(settings), "refunds")
    last = planned.files[-1]
    last.new.write_text(last.text)
    again = plan_renaming(settings, refunds(settings), "refunds")
    assert again == planned
    last.new.write_text(last.text.replace("append", "overwrite"))
    with pytest.raises(ScaffoldError, match="there is a stream shopify__refunds already"):
        plan_renaming(settings, refunds(settings), "refunds")


@pytest.mark.parametrize("name", ["orders", "Orders", "order_refunds"])
def test_a_name_that_is_taken_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(ScaffoldError, match=f"there is a stream shopify__{name} already"):
        plan_renaming(settings, refunds(settings), name)


@pytest.mark.parametrize("name", ["a__b", "1st", "re-funds", "../x"])
def test_what_is_no_name_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(StreamConfigError, match="is not a valid name"):
        plan_renaming(settings, refunds(settings), name)


def test_a_source_that_is_declared_beside_others_is_refused(settings: Settings) -> None:
    folder = settings.project_dir / "include/dbt/models/processed/shopify"
    (folder / "_shopify__order_refunds__source.yml").rename(folder / "_sources.yml")
    with pytest.raises(ScaffoldError, match=r"_sources.yml declares shopify.order_refunds"):
        plan_renaming(settings, refunds(settings), "refunds")


def test_the_schema_of_another_stream_is_not_taken(settings: Settings) -> None:
    (settings.sources_dir / "shopify" / "refunds.json").write_text("{}")
    with pytest.raises(ScaffoldError, match="is the schema of another stream"):
        plan_renaming(settings, refunds(settings), "refunds")


def test_what_is_discovered_then_goes_to_the_new_name(settings: Settings) -> None:
    rename_files(plan_renaming(settings, refunds(settings), "refunds"))
    path = settings.sources_dir / "shopify" / "refunds.json"
    document = json.loads(path.read_text())
    (found,) = write_source_schemas(settings, "shopify", {"streams": [document]})
    assert (found.path, found.status) == (path, "unchanged")
    assert not path.with_stem("order_refunds").exists()
