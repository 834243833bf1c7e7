"""Stream JSONs: the nine of the project, and what is said about a broken one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from lotus_lake.config.stream_config import SCHEMA_FILE, FeederOptions, published_schema
from lotus_lake.config.streams import (
    choose_streams,
    find_stream,
    load_streams,
    source_schema,
    stream_files,
)
from lotus_lake.errors import StreamConfigError

INCLUDE = Path(__file__).resolve().parents[3] / "include"
STREAMS = INCLUDE / "streams"
IDS = [
    "klaviyo__campaigns",
    "klaviyo__events",
    "klaviyo__flows",
    "klaviyo__lists",
    "klaviyo__metrics",
    "klaviyo__profiles",
    "shopify__customers",
    "shopify__order_refunds",
    "shopify__orders",
]
GOOD: dict[str, Any] = {
    "stream": "orders",
    "primary_key": [["id"]],
    "fields": {"id": {"type": "integer"}},
}


def write(folder: Path, document: Any, path: str = "shop/orders.json") -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return file


def good(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(GOOD), **changes}


# The project's own streams


def test_the_nine_streams_load() -> None:
    streams, errors = load_streams(STREAMS)
    assert errors == []
    assert [stream.id for stream in streams] == IDS


@pytest.mark.parametrize("stream_id", IDS)
def test_everything_follows_from_the_path(stream_id: str) -> None:
    source, _, name = stream_id.partition("__")
    stream = find_stream(STREAMS, source, name)
    assert (stream.source, stream.name, stream.id) == (source, name, stream_id)
    assert (stream.namespace, stream.stream_name) == (source, name)
    assert stream.landing_table == f"stg_{stream_id}"


@pytest.mark.parametrize("stream_id", IDS)
def test_every_selected_field_was_discovered_in_its_source(stream_id: str) -> None:
    stream = find_stream(STREAMS, *stream_id.split("__"))
    discovered = source_schema(INCLUDE / "sources", stream)
    assert discovered
    assert set(stream.config.fields) <= set(discovered)


# A good document


def test_whatever_is_left_out_has_a_default(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    ((stream,), errors) = load_streams(tmp_path)
    assert errors == []
    assert stream.feeder == FeederOptions()
    assert stream.config.selected
    assert stream.config.destination_sync_mode == "append"


def test_a_stream_that_is_not_selected_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, good(selected=False))
    assert load_streams(tmp_path) == ([], [])


def test_files_that_start_with_an_underscore_are_no_streams(tmp_path: Path) -> None:
    write(tmp_path, "not JSON", "shop/_catalog.json")
    write(tmp_path, GOOD)
    assert [file.stream_id for file in stream_files(tmp_path)] == ["shop__orders"]


def test_an_absent_folder_is_an_error_and_no_exception(tmp_path: Path) -> None:
    streams, (error,) = load_streams(tmp_path / "none")
    assert streams == []
    assert f"{tmp_path / 'none'}: no such folder" in str(error)
    assert "LAKE_STREAMS_DIR" in str(error.hint)
    for source, name in ((None, None), ("shop", None), ("shop", "orders")):
        with pytest.raises(StreamConfigError, match="no such folder"):
            choose_streams(tmp_path / "none", source, name)


def test_one_stream_is_loaded_without_the_others(tmp_path: Path) -> None:
    for stream in STREAMS.glob("shopify/*.json"):
        (tmp_path / "shopify").mkdir(exist_ok=True)
        shutil.copy(stream, tmp_path / "shopify")
    (tmp_path / "shopify" / "customers.json").write_text("broken")
    ((stream,), errors) = load_streams(tmp_path, "shopify__orders")
    assert (stream.id, errors) == ("shopify__orders", [])


def test_a_config_cannot_be_changed_after_loading(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    stream = find_stream(tmp_path, "shop", "orders")
    with pytest.raises(ValueError, match="frozen"):
        stream.config.feeder.batch_files = 5


# A bad one: the file, the JSON path, the value, the reason, the hint

BAD: list[tuple[str, Any, list[str]]] = [
    ("not JSON", '{"stream": "orders",\n  oops}', [":2:3: not JSON"]),
    ("nothing", "", [":1:1: not JSON"]),
    ("a list", [], ["$ = []: should be an object"]),
    (
        "unknown field",
        good(streem="orders"),
        ['$.streem = "orders": unknown field; did you mean stream? known: $schema'],
    ),
    (
        "missing field",
        {"stream": "orders", "fields": {"id": {}}},
        ["$.primary_key is required: a list of lists of field names"],
    ),
    ("no fields", good(fields={}), ["$.fields: should be a non-empty object of fields"]),
    (
        "key of plain names",
        good(primary_key=["id"]),
        ['$.primary_key = ["id"]: should be a list of lists of field names, such as '
         '[["id"]]'],
    ),
    (
        "cursor as a name",
        good(cursor_field="id"),
        ['$.cursor_field = "id": should be a list of field names, such as ["updated_at"]'],
    ),
    ("feeder that is no object", good(feeder=5), ["$.feeder = 5: should be an object"]),
    ("flag in words", good(selected="maybe"), ['$.selected = "maybe": should be true or false']),
    (
        "a choice in a choice",
        good(fields={"id": {"oneOf": [{"type": "string"}, {"type": "text"}, 4]}}),
        ['$.fields.id.oneOf[1].type = "text": should be "string", "boolean"',
         '$.fields.id.oneOf[2] = 4: should be an object, such as {"type": "string"}'],
    ),
    (
        "column that hides DuckLake's own",
        good(fields={"id": {}, "s": {"type": "integer", "column": "Snapshot_id"}}),
        ["$.fields.s", "field 's' cannot land as column 'Snapshot_id'"],
    ),
    (
        "deduplicating destination",
        good(destination_sync_mode="append_dedup"),
        ['$.destination_sync_mode = "append_dedup"', 'should be "append" or "overwrite"'],
    ),
    (
        "unknown sync mode",
        good(sync_mode="cdc"),
        ['$.sync_mode = "cdc": should be "incremental" or "full_refresh"'],
    ),
    (
        "unknown JSON type",
        good(fields={"id": {"type": "bigint"}}),
        ['$.fields.id.type = "bigint": should be "string", ', '"null", or a list of these'],
    ),
    (
        "unknown option",
        good(feeder={"batch_size": 5}),
        ["$.feeder.batch_size = 5: unknown field; did you mean batch_files?"],
    ),
    (
        "batch of nothing",
        good(feeder={"batch_files": 0}),
        ["$.feeder.batch_files = 0: should be an integer, 1 to 1000"],
    ),
    ("huge batch", good(feeder={"batch_files": 5000}), ["$.feeder.batch_files = 5000", "1000"]),
    ("no lookback", good(feeder={"lookback_days": 0}), ["$.feeder.lookback_days = 0"]),
    ("half a day", good(feeder={"retention_days": 0.5}), ["$.feeder.retention_days = 0.5"]),
    (
        "unknown policy",
        good(feeder={"on_schema_change": "ignore"}),
        ['$.feeder.on_schema_change = "ignore"', 'should be "evolve", "freeze", "ask" or "fail"'],
    ),
    (
        "freshness without a limit",
        good(feeder={"freshness": {}}),
        ["$.feeder.freshness", "needs warn_after_seconds or error_after_seconds"],
    ),
    (
        "freshness that warns too late",
        good(feeder={"freshness": {"warn_after_seconds": 9, "error_after_seconds": 5}}),
        ["$.feeder.freshness", "is greater than"],
    ),
    (
        "freshness in words",
        good(feeder={"freshness": {"warn_after_seconds": "2h"}}),
        ['$.feeder.freshness.warn_after_seconds = "2h": should be a number, 1 to'],
    ),
    ("empty schedule", good(feeder={"schedule": ""}), ['$.feeder.schedule = ""']),
    *(
        (f"schedule {schedule!r}", good(feeder={"schedule": schedule}),
         ["$.feeder.schedule", "is not a schedule of Airflow"])
        for schedule in (
            "every hour", "@none", "@reboot", "* * * *", "60 * * * *", "0 0 30 2 *", "H H * * *",
            "0 0 * * * 0 2020", "0 0 1 * 1,5#2", "  ",
        )
    ),
    (
        "key that is no field",
        good(primary_key=[["uid"]]),
        ["$.primary_key = [[\"uid\"]]: 'uid' is not one of the fields; did you mean id?"],
    ),
    (
        "cursor that is no field",
        good(cursor_field=["at"]),
        ["$.cursor_field = [\"at\"]: 'at' is not one of the fields; known: id"],
    ),
    (
        "deletes that nothing tells",
        good(deletes="soft"),
        ['$.deletes = "soft": needs the field _ab_cdc_deleted_at, which reports deletes'],
    ),
    (
        "hard deletes without a key",
        good(primary_key=[], fields={"id": {}, "_ab_cdc_deleted_at": {"type": "string"}}),
        ["$.primary_key = []: with \"deletes\": \"hard\", which is the default, there has to be"],
    ),
    (
        "history without a key",
        good(primary_key=[], history=True),
        ["$.history = true: needs a primary_key"],
    ),
    (
        "history of a stream that is overwritten",
        good(destination_sync_mode="overwrite", history=True),
        ["$.history = true: needs destination_sync_mode append"],
    ),
    (
        "log field that is no field",
        good(log_fields=["lsn"]),
        ["$.log_fields = [\"lsn\"]: 'lsn' is not one of the fields; known: id"],
    ),
    (
        "log that starts again, but is none",
        good(log_restarts=["2026-03-05T10:00:00Z"]),
        ["$.log_restarts", "needs fields that say where a version stands in a log"],
    ),
    (
        "moment without a zone",
        good(log_restarts=["2026-03-05T10:00:00"]),
        ['$.log_restarts = ["2026-03-05T10:00:00"]'],
    ),
    (
        "field without a name",
        good(fields={"id": {}, "due": {"items": {"properties": {"": {}}}}}),
        ["$.fields.due", "field 'due.' has no usable name"],
    ),
    (
        "column that every table has",
        good(fields={"id": {}, "due": {"properties": {"year": {"column": "Day"}}}}),
        ["$.fields.due", "field 'due.year' cannot land as column 'Day'"],
    ),
    ("another name", good(stream="order"), ["$.stream = 'order'", "the file is named 'orders'"]),
]  # fmt: skip


@pytest.mark.parametrize(("document", "texts"), [case[1:] for case in BAD], ids=[c[0] for c in BAD])
def test_a_bad_document_is_told_precisely(tmp_path: Path, document: Any, texts: list[str]) -> None:
    file = write(tmp_path, document)
    streams, (error,) = load_streams(tmp_path)
    assert streams == []
    for text in [str(file), *texts]:
        assert text in str(error)


@pytest.mark.parametrize(
    ("fields", "changes", "log"),
    [
        (["id", "updated_at"], {}, ()),
        (["id", "_ab_cdc_lsn"], {}, ("_ab_cdc_lsn",)),
        (["_ab_cdc_event_serial_no", "_ab_cdc_lsn"], {},
         ("_ab_cdc_lsn", "_ab_cdc_event_serial_no")),
        (["_ab_cdc_log_pos", "_ab_cdc_log_file", "_ab_cdc_cursor"], {},
         ("_ab_cdc_log_file", "_ab_cdc_log_pos")),
        (["_ab_cdc_cursor", "_ab_cdc_updated_at"], {}, ()),
        (["_ab_cdc_lsn", "scn"], {"log_fields": ["scn"]}, ("scn",)),
        (["_ab_cdc_lsn"], {"log_fields": []}, ()),
        (["_ab_cdc_lsn"], {"primary_key": []}, ()),
    ],
)  # fmt: skip
def test_the_log_of_a_stream_is_found_by_its_fields(
    tmp_path: Path, fields: list[str], changes: dict[str, Any], log: tuple[str, ...]
) -> None:
    described: dict[str, Any] = {"id": {}, **{name: {"type": "string"} for name in fields}}
    write(tmp_path, good(fields=described, **changes))
    [stream], errors = load_streams(tmp_path)
    assert not errors
    assert stream.config.log == log


def test_every_problem_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, good(sync_mode="cdc", feeder={"batch_files": 0, "retries": 99}))
    _, (error,) = load_streams(tmp_path)
    for text in ("$.sync_mode", "$.feeder.batch_files", "$.feeder.retries"):
        assert text in str(error)
    assert SCHEMA_FILE in str(error.hint)


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    write(tmp_path, good(primary_key="x" * 5000))
    _, (error,) = load_streams(tmp_path)
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    "path",
    ["my-shop/orders.json", "shop/or ders.json", "shop/2orders.json", "a__b/orders.json",
     "s" * 101 + "/orders.json"],
)  # fmt: skip
def test_a_path_that_cannot_name_a_dag_is_refused(tmp_path: Path, path: str) -> None:
    file = write(tmp_path, good(stream=Path(path).stem), path)
    _, (error,) = load_streams(tmp_path)
    assert str(file) in str(error)
    assert "single underscores" in str(error.hint)


@pytest.mark.parametrize(
    "schedule",
    ["@continuous", "@once", "@hourly", "@quarterly", "@yearly", "0 5 * * mon-fri", "0 0 29 2 *",
     "0 0 L * *", "*/5 * * * * *"],
)  # fmt: skip
def test_a_schedule_of_airflow_is_accepted(tmp_path: Path, schedule: str) -> None:
    write(tmp_path, good(feeder={"schedule": schedule}))
    (stream,), errors = load_streams(tmp_path)
    assert (stream.feeder.schedule, errors) == (schedule, [])


def test_bytes_that_are_no_text_are_an_error_of_their_file(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    file.write_bytes(b'{"stream": "\xff"}')
    _, (error,) = load_streams(tmp_path)
    assert f"{file}: cannot be read" in str(error)


def test_one_bad_file_hides_nothing(tmp_path: Path) -> None:
    for number, (_, document, _) in enumerate(BAD):
        write(tmp_path, document, f"bad/s{number}.json")
    write(tmp_path, "[" * 100_000, "bad/deep.json")
    for name in ("customers", "orders"):
        write(tmp_path, good(stream=name), f"shop/{name}.json")
    streams, errors = load_streams(tmp_path)
    assert [stream.id for stream in streams] == ["shop__customers", "shop__orders"]
    assert len(errors) == len(BAD) + 1


def test_streams_are_chosen_by_source_and_name(tmp_path: Path) -> None:
    for path in ("shop/orders", "shop/lines", "crm/deals"):
        write(tmp_path, good(stream=Path(path).name), f"{path}.json")
    write(tmp_path, good(stream="off", selected=False), "crm/off.json")
    write(tmp_path, "{", "crm/broken.json")

    def chosen(*names: str) -> list[str]:
        return [stream.id for stream in choose_streams(tmp_path, *names)[0]]

    assert chosen() == ["crm__deals", "shop__lines", "shop__orders"]
    assert chosen("shop") == ["shop__lines", "shop__orders"]
    assert chosen("crm", "off") == ["crm__off"]
    assert len(choose_streams(tmp_path)[1]) == 1
    with pytest.raises(StreamConfigError, match="not JSON"):
        choose_streams(tmp_path, "crm", "broken")


@pytest.mark.parametrize(
    ("names", "text", "hint"),
    [
        (("shop", "ordesr"), "unknown stream 'ordesr' of source 'shop'", "did you mean orders?"),
        (("shop", "deals"), "unknown stream 'deals' of source 'shop'", "known: lines, orders"),
        (("shpo", "orders"), "unknown source 'shpo'", "did you mean shop? known: shop"),
        (("shpo",), "unknown source 'shpo'", "did you mean shop?"),
        (("*",), "unknown source", "known: shop"),
    ],
)
def test_an_unknown_name_is_answered_with_those_that_are_known(
    tmp_path: Path, names: tuple[str, ...], text: str, hint: str
) -> None:
    for name in ("orders", "lines"):
        write(tmp_path, good(stream=name), f"shop/{name}.json")
    with pytest.raises(StreamConfigError, match=re.escape(text)) as caught:
        choose_streams(tmp_path, *names)
    assert hint in str(caught.value.hint)


def test_a_folder_without_a_selected_stream_is_told(tmp_path: Path) -> None:
    write(tmp_path, good(selected=False))
    with pytest.raises(StreamConfigError, match="no stream is selected"):
        choose_streams(tmp_path)


# Discovered schemas


def test_a_stream_without_a_discovered_schema_has_none(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert source_schema(tmp_path / "sources", find_stream(tmp_path, "shop", "orders")) == {}


@pytest.mark.parametrize(
    "document", ["oops", {}, [], {"json_schema": []}, {"json_schema": {"properties": {"id": 5}}}]
)
def test_a_bad_discovered_schema_is_told(tmp_path: Path, document: Any) -> None:
    write(tmp_path / "streams", GOOD)
    file = write(tmp_path / "sources", document)
    with pytest.raises(StreamConfigError, match="not a discovered stream") as caught:
        source_schema(tmp_path / "sources", find_stream(tmp_path / "streams", "shop", "orders"))
    assert str(file) in str(caught.value)


# The published JSON Schema


def test_the_published_schema_is_current() -> None:
    assert json.loads((STREAMS / SCHEMA_FILE).read_text("utf-8")) == published_schema()


@pytest.fixture(scope="module")
def accepts() -> Callable[[Any], bool]:
    jsonschema = pytest.importorskip("jsonschema", reason="only checks what editors would show")
    schema = json.loads((STREAMS / SCHEMA_FILE).read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    return lambda document: bool(validator.is_valid(document))


@pytest.mark.parametrize("stream_id", IDS)
def test_the_published_schema_accepts_our_streams(
    accepts: Callable[[Any], bool], stream_id: str
) -> None:
    source, _, name = stream_id.partition("__")
    assert accepts(json.loads((STREAMS / source / f"{name}.json").read_text("utf-8")))


@pytest.mark.parametrize(
    "document",
    [
        good(streem="orders"),
        good(feeder={"batch_size": 5}),
        good(feeder={"batch_files": 0}),
        good(sync_mode="cdc"),
        good(fields={}),
        {"stream": "orders"},
    ],
)
def test_the_published_schema_refuses_what_loading_refuses(
    accepts: Callable[[Any], bool], document: Any
) -> None:
    assert accepts(GOOD)
    assert not accepts(document)
