"""The sample generator is true to Airbyte's files, and shows what it promises to show."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lotus_lake.bucket.objects import s3_client
from samples import History, SampleFile, embedded_s3, generate, write_files
from samples.__main__ import app
from samples.demo import app as demo
from samples.expected import ENRICHED
from tests.servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

INCLUDE = Path(__file__).resolve().parents[2] / "include"
MODELS = {
    "int_shopify__orders": "order_id",
    "int_shopify__customers": "customer_id",
    "int_shopify__order_refunds": "refund_id",
    "int_klaviyo__profiles": "profile_id",
    "int_klaviyo__events": "event_id",
    "int_klaviyo__campaigns": "campaign_id",
    "int_klaviyo__flows": "flow_id",
    "int_klaviyo__lists": "list_id",
    "int_klaviyo__metrics": "metric_id",
    "fct_sales": "order_id",
    "fct_campaign_touches": "touch_id",
}
KEY = re.compile(
    r"(?P<source>[a-z]+)/(?P<stream>[a-z_]+)/year=(\d{4})/month=(\d\d)/day=(\d\d)/(?P<name>[^/]+)"
)


@pytest.fixture(scope="module")
def history() -> History:
    return generate()


@pytest.fixture(scope="module", params=[7, 8])
def any_history(request: pytest.FixtureRequest) -> History:
    """Two seeds: what is scripted must be there with both."""
    return generate(request.param)


@cache
def table(file: SampleFile) -> pa.Table:
    return pq.read_table(io.BytesIO(file.data))


@cache
def rows(file: SampleFile) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = table(file).to_pylist()
    return records


def named(history: History, scenario: str) -> list[SampleFile]:
    keys = set(history.scenarios[scenario])
    found = [file for file in history.files if file.key in keys]
    assert found, scenario
    return found


def of(history: History, stream: str) -> list[SampleFile]:
    return [file for file in history.files if file.stream == stream]


# Determinism and size


def test_the_same_seed_gives_the_same_bytes(history: History) -> None:
    again = generate()
    assert again.files == history.files


def test_another_seed_gives_other_records(history: History) -> None:
    other = generate(seed=8)
    data = [{file.data for file in made.files if file.row_count} for made in (history, other)]
    assert data[0].isdisjoint(data[1])


def test_another_start_moves_every_file() -> None:
    moved = generate(start=date(2025, 12, 30), days=4)
    assert min(file.key for file in of(moved, "orders")).startswith(
        "shopify/orders/year=2025/month=12/day=30/"
    )
    assert moved.files[-1].written_at < datetime(2026, 1, 3, tzinfo=UTC)


def test_a_later_history_has_orders_of_its_own(history: History) -> None:
    later = generate(seed=8, start=date(2026, 3, 7))
    orders = [{row["order_id"] for row in h.expected("fct_sales")} for h in (history, later)]
    assert all(orders)
    assert orders[0].isdisjoint(orders[1])


def test_too_short_a_history_is_refused() -> None:
    with pytest.raises(ValueError, match="days >= 4"):
        generate(days=3)


def test_a_history_is_small_and_covers_every_stream(history: History) -> None:
    streams = {(file.source, file.stream) for file in history.files}
    configured = {(path.parent.name, path.stem) for path in INCLUDE.glob("streams/*/[!_]*.json")}
    assert len(streams) == 9
    assert streams <= configured
    assert 120 <= len(history.files) <= 170
    assert 2_000 <= sum(file.row_count for file in history.files) <= 4_000


def test_scale_multiplies_the_rows(history: History) -> None:
    doubled = generate(scale=2)
    ratio = sum(f.row_count for f in doubled.files) / sum(f.row_count for f in history.files)
    assert 1.8 < ratio < 2.2


# Keys and arrival


def test_keys_are_unique_and_carry_the_day_of_the_attempt(history: History) -> None:
    assert len({file.key for file in history.files}) == len(history.files)
    for file in history.files:
        match = KEY.fullmatch(file.key)
        assert match is not None, file.key
        assert (match["source"], match["stream"]) == (file.source, file.stream)
        day = datetime.fromisoformat("-".join(match.group(3, 4, 5))).replace(tzinfo=UTC)
        assert timedelta(0) <= file.written_at - day < timedelta(hours=30)


def test_names_differ_by_stream(history: History) -> None:
    patterns = {
        "orders": r"part_\d+\.parquet",
        "customers": r"part_\d+\.parquet",
        "events": r"\d{4}_\d\d_\d\d_\d{13}_\d+\.parquet",
        "profiles": r"part_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.parquet",
        "campaigns": r"part_0\.parquet(-\d+)?",
    }
    for stream, pattern in patterns.items():
        names = [file.key.rsplit("/", 1)[1] for file in of(history, stream)]
        assert names
        assert all(re.fullmatch(pattern, name) for name in names), stream


def test_a_clash_of_names_puts_the_number_after_the_extension(any_history: History) -> None:
    assert any(file.key.endswith("/part_0.parquet-1") for file in of(any_history, "campaigns"))


def test_part_numbers_restart_every_day(history: History) -> None:
    firsts = [file.key for file in of(history, "orders") if file.key.endswith("/part_0.parquet")]
    assert len(firsts) == 6


def test_files_are_in_order_of_arrival_which_is_not_key_order(any_history: History) -> None:
    written = [file.written_at for file in any_history.files]
    assert written == sorted(written)
    keys = [file.key for file in of(any_history, "orders")]
    assert keys != sorted(keys)


def test_no_file_appears_before_its_last_row_was_read(any_history: History) -> None:
    for file in any_history.files:
        if file.row_count:
            assert max(row["_airbyte_extracted_at"] for row in rows(file)) < file.written_at


# Parquet, as Airbyte writes it


def test_the_four_airbyte_columns_come_first_and_are_required(history: History) -> None:
    expected = {
        "_airbyte_raw_id": ("BYTE_ARRAY", "String"),
        "_airbyte_extracted_at": ("INT64", "Timestamp(isAdjustedToUTC=true, timeUnit=milliseconds"),
        "_airbyte_meta.sync_id": ("INT64", "None"),
        "_airbyte_meta.changes.list.element.field": ("BYTE_ARRAY", "String"),
        "_airbyte_meta.changes.list.element.change": ("BYTE_ARRAY", "String"),
        "_airbyte_meta.changes.list.element.reason": ("BYTE_ARRAY", "String"),
        "_airbyte_generation_id": ("INT64", "None"),
    }
    for file in history.files:
        schema = pq.ParquetFile(io.BytesIO(file.data)).schema
        head = [schema.column(position) for position in range(len(expected))]
        assert {
            column.path: (column.physical_type, str(column.logical_type).split(", is_")[0])
            for column in head
        } == expected
        assert [column.max_definition_level for column in head] == [0, 0, 0, 1, 1, 1, 0]
        arrow = schema.to_arrow_schema()
        assert [arrow.field(position).nullable for position in range(4)] == [False] * 4
        assert all(arrow.field(position).nullable for position in range(4, len(arrow)))


def jsonb(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (len(name), name.encode()))


def levels(kind: pa.DataType) -> Iterator[list[str]]:
    """Yield the field names of every struct inside a type."""
    if pa.types.is_list(kind):
        yield from levels(kind.value_type)
    elif pa.types.is_struct(kind):
        yield [field.name for field in kind]
        for field in kind:
            yield from levels(field.type)


def test_data_columns_come_in_jsonb_key_order_at_every_level(history: History) -> None:
    checked = 0
    for file in history.files:
        schema = table(file).schema
        data = [schema.field(position) for position in range(4, len(schema))]
        assert [field.name for field in data] == jsonb([field.name for field in data])
        for field in data:
            for names in levels(field.type):
                assert names == jsonb(names)
                checked += 1
    assert checked > 100


def test_only_selected_columns_are_there_but_nested_objects_are_whole(history: History) -> None:
    for file in history.files:
        config = json.loads((INCLUDE / "streams" / file.source / f"{file.stream}.json").read_text())
        grown = {"currency"} if file.key in history.scenarios["new_column"] else set()
        assert set(table(file).schema.names[4:]) == set(config["fields"]) | grown
    customer = table(of(history, "orders")[0]).schema.field("customer").type
    assert {"id", "email", "default_address"} <= {field.name for field in customer}


@pytest.mark.parametrize(
    ("stream", "path", "kind"),
    [
        ("orders", "id", pa.int64()),
        ("orders", "test", pa.bool_()),
        ("orders", "total_tax", pa.float64()),
        ("orders", "updated_at", pa.timestamp("us", tz="UTC")),
        ("orders", "total_shipping_price_set.shop_money.amount", pa.float64()),
        ("order_refunds", "transactions.element.amount", pa.string()),
        ("order_refunds", "transactions.element.created_at", pa.string()),
        ("order_refunds", "refund_line_items.element.line_item.properties.element", pa.string()),
        ("profiles", "segments", pa.string()),
        ("profiles", "attributes.properties", pa.string()),
        ("events", "attributes.event_properties", pa.string()),
        ("campaigns", "attributes.send_strategy.options_sto.date", pa.date32()),
        ("campaigns", "relationships.campaign_messages.data.element.id", pa.string()),
        ("flows", "relationships.flow_actions.data.element.type", pa.string()),
        ("lists", "relationships.flow_triggers.data.id", pa.string()),
    ],
)
def test_json_types_become_parquet_types(
    history: History, stream: str, path: str, kind: pa.DataType
) -> None:
    head, *rest = path.split(".")
    found = table(of(history, stream)[0]).schema.field(head).type
    for name in rest:
        found = found.value_type if name == "element" else found.field(name).type
    assert found == kind


def test_lists_have_three_levels(history: History) -> None:
    schema = pq.ParquetFile(io.BytesIO(of(history, "order_refunds")[0].data)).schema
    paths = {schema.column(position).path for position in range(len(schema))}
    assert "transactions.list.element.amount" in paths


def test_raw_ids_are_unique_and_shaped_like_version_7(history: History) -> None:
    ids = [row["_airbyte_raw_id"] for file in history.files for row in rows(file)]
    assert len(set(ids)) == len(ids)
    assert {UUID(text).version for text in ids} == {7}


def test_meta_tells_the_sync_and_never_a_null_list(history: History) -> None:
    for file in history.files:
        for row in rows(file):
            assert row["_airbyte_meta"]["sync_id"] == file.sync_id
            assert isinstance(row["_airbyte_meta"]["changes"], list)


def test_row_counts_are_true(history: History) -> None:
    assert all(file.row_count == table(file).num_rows for file in history.files)


# Scenarios


def test_the_backfill_has_two_digit_parts_that_arrive_out_of_step(any_history: History) -> None:
    names = [file.key.rsplit("/", 1)[1] for file in named(any_history, "backfill")]
    assert names.index("part_10.parquet") < names.index("part_9.parquet")
    assert len({file.sync_id for file in named(any_history, "backfill")}) == 1


def test_one_order_is_paid_then_fulfilled_then_cancelled(any_history: History) -> None:
    states: dict[int, list[tuple[str | None, bool]]] = {}
    for file in of(any_history, "orders"):
        for row in rows(file):
            state = row["fulfillment_status"], row["cancelled_at"] is not None
            states.setdefault(row["id"], []).append(state)
    life = [(None, False), ("fulfilled", False), (None, True)]
    assert life in states.values()


def test_customers_grow(history: History) -> None:
    counts: dict[int, set[int]] = {}
    for file in of(history, "customers"):
        for row in rows(file):
            counts.setdefault(row["id"], set()).add(row["orders_count"])
    assert sum(len(seen - {None}) > 2 for seen in counts.values()) > 5


def test_one_order_is_refunded_in_two_syncs(any_history: History) -> None:
    files = named(any_history, "refunded_twice")
    amounts = {
        payment["amount"]: (row["order_id"], file.sync_id)
        for file in files
        for row in rows(file)
        for payment in row["transactions"]
    }
    (first_order, first_sync), (second_order, second_sync) = amounts["113.49"], amounts["98.94"]
    assert first_order == second_order
    assert first_sync != second_sync
    sale = next(s for s in any_history.expected("fct_sales") if s["order_id"] == first_order)
    assert sale["returns"] == Decimal("212.4300")


def test_late_files_arrive_behind_the_cursor_and_hold_what_nobody_else_has(
    any_history: History,
) -> None:
    orders = of(any_history, "orders")
    late = named(any_history, "late_file")
    elsewhere = {row["id"] for file in orders if file not in late for row in rows(file)}
    for file in late:
        arrived = [other.key for other in orders if other.written_at < file.written_at]
        assert file.key < max(arrived)
    assert {row["id"] for file in late for row in rows(file)} - elsewhere


def test_late_files_hold_older_states_of_rows_that_are_there(any_history: History) -> None:
    late = named(any_history, "late_file")
    before: dict[int, list[dict[str, Any]]] = {}
    for file in of(any_history, "orders"):
        if file.written_at < late[0].written_at:
            for row in rows(file):
                before.setdefault(row["id"], []).append(row)
    overtaken = [
        row["id"]
        for file in late
        for row in rows(file)
        for newer in before.get(row["id"], [])
        if newer["_airbyte_extracted_at"] > row["_airbyte_extracted_at"]
        and newer["fulfillment_status"] != row["fulfillment_status"]
    ]
    assert overtaken


def test_a_retry_repeats_rows_under_new_raw_ids(any_history: History) -> None:
    (failed,), (again,) = (
        named(any_history, name) for name in ("failed_attempt", "retried_attempt")
    )
    assert failed.sync_id == again.sync_id
    first = {row["id"]: row for row in rows(failed)}
    repeated = [(first[row["id"]], row) for row in rows(again) if row["id"] in first]
    assert repeated
    extracted, raw_id = "_airbyte_extracted_at", "_airbyte_raw_id"
    assert all(old[raw_id] != new[raw_id] for old, new in repeated)
    assert all(
        {k: v for k, v in old.items() if k not in (extracted, raw_id)}
        == {k: v for k, v in new.items() if k not in (extracted, raw_id)}
        for old, new in repeated
    )
    assert len({old[extracted] == new[extracted] for old, new in repeated}) == 2
    assert {row["id"] for row in rows(again)} - set(first)


def test_two_states_share_a_millisecond_and_the_newer_lands_first(any_history: History) -> None:
    seen: dict[tuple[int, datetime], dict[str, Any]] = {}
    pairs = []
    for file in named(any_history, "same_millisecond"):
        for row in rows(file):
            moment = row["id"], row["_airbyte_extracted_at"]
            if moment in seen:
                pairs.append((seen[moment], row))
            seen[moment] = row
    ((first, second),) = pairs
    assert first["updated_at"] > second["updated_at"]
    assert first["_airbyte_raw_id"] < second["_airbyte_raw_id"]
    orders = any_history.expected("int_shopify__orders")
    winner = next(order for order in orders if order["order_id"] == first["id"])
    assert winner["order_updated_at"] == first["updated_at"]
    assert winner["fulfillment_status"] == first["fulfillment_status"]


def test_only_the_raw_id_tells_two_rows_of_a_customer_apart(any_history: History) -> None:
    found = [
        row
        for file in named(any_history, "same_update_twice")
        for row in rows(file)
        if row["tags"] in ("first of two", "second of two")
    ]
    first, second = found
    assert first["_airbyte_extracted_at"] == second["_airbyte_extracted_at"]
    assert first["updated_at"] == second["updated_at"]
    assert first["_airbyte_raw_id"] > second["_airbyte_raw_id"]
    customers = any_history.expected("int_shopify__customers")
    winner = next(c for c in customers if c["customer_id"] == first["id"])
    assert winner["tags"] == first["tags"]


def test_an_empty_sync_writes_nothing(any_history: History) -> None:
    syncs = {file.sync_id for file in of(any_history, "events")}
    assert syncs - {file.sync_id for file in of(any_history, "lists")}


def test_one_file_has_no_rows(any_history: History) -> None:
    (file,) = named(any_history, "zero_rows")
    assert file.row_count == 0
    assert table(file).schema == table(of(any_history, "flows")[0]).schema


def test_a_new_column_lands_in_the_middle(any_history: History) -> None:
    grown = any_history.scenarios["new_column"]
    for file in of(any_history, "orders"):
        names = table(file).schema.names
        assert ("currency" in names) == (file.key in grown)
        if file.key in grown:
            position = names.index("currency")
            assert (names[position - 1], names[position + 1]) == ("test", "customer")
            assert {row["currency"] for row in rows(file)} == {"EUR"}


def test_a_new_nested_field_appears(any_history: History) -> None:
    grown = any_history.scenarios["new_nested_field"]
    kinds: Counter[bool] = Counter()
    for file in of(any_history, "profiles"):
        location = table(file).schema.field("attributes").type.field("location").type
        assert (location.get_field_index("latitude") >= 0) == (file.key in grown)
        kinds[file.key in grown] += 1
    assert min(kinds[True], kinds[False]) > 0


def test_a_file_is_laden_with_nulls(any_history: History) -> None:
    for row in rows(named(any_history, "nulls")[0]):
        data = {name for name, value in row.items() if value is not None and name[0] != "_"}
        assert data == {"id", "updated_at"}


def test_a_failed_conversion_is_told_in_meta(any_history: History) -> None:
    told = [
        (row["total_spent"], row["_airbyte_meta"]["changes"])
        for file in named(any_history, "nulled_value")
        for row in rows(file)
        if row["_airbyte_meta"]["changes"]
    ]
    reason = "DESTINATION_SERIALIZATION_ERROR"
    assert told == [(None, [{"field": "total_spent", "change": "NULLED", "reason": reason}])]


def test_many_rows_share_a_millisecond(history: History) -> None:
    moments = Counter(
        row["_airbyte_extracted_at"] for file in of(history, "events") for row in rows(file)
    )
    assert max(moments.values()) >= 40


def test_strings_hold_other_scripts_quotes_backslashes_and_line_breaks(history: History) -> None:
    text = "".join(
        str(value)
        for model in ("int_klaviyo__profiles", "int_klaviyo__campaigns", "int_klaviyo__events")
        for row in history.expected(model)
        for value in row.values()
    )
    assert all(sign in text for sign in ('"', "'", "\\", "\n", "李", "Ш", "ễ", "🌸"))


# Answers


@pytest.mark.parametrize(("model", "key"), MODELS.items())
def test_expected_rows_are_sorted_and_unique_by_their_key(
    history: History, model: str, key: str
) -> None:
    answer = history.expected(model)
    keys = [row[key] for row in answer]
    assert keys
    assert keys == sorted(set(keys))
    assert len({tuple(row) for row in answer}) == 1


@pytest.mark.parametrize("model", MODELS)
def test_expected_rows_do_not_depend_on_the_order_of_files(history: History, model: str) -> None:
    backwards = dataclasses.replace(history, parts=tuple(reversed(history.parts)))
    assert backwards.expected(model) == history.expected(model)


def test_expected_rows_of_the_files_that_have_landed(history: History) -> None:
    landed = [file.key for file in of(history, "orders")[:3]]
    ids = {row["id"] for file in of(history, "orders")[:3] for row in rows(file)}
    assert {r["order_id"] for r in history.expected("int_shopify__orders", landed)} == ids
    assert {r["returns"] for r in history.expected("fct_sales", landed)} == {Decimal(0)}


def test_every_row_that_landed_is_answered_for(history: History) -> None:
    for model, key in MODELS.items():
        if model in ENRICHED:
            continue
        stream = model.split("__")[1]
        ids = {row["id"] for file in of(history, stream) for row in rows(file)}
        assert {row[key] for row in history.expected(model)} == ids


def test_money_is_decimal_with_four_places_and_moments_are_utc(history: History) -> None:
    for model in MODELS:
        for row in history.expected(model):
            for value in row.values():
                if isinstance(value, Decimal):
                    assert value.as_tuple().exponent == -4
                if isinstance(value, datetime):
                    assert value.tzinfo is UTC


def test_sales_add_up(history: History) -> None:
    sales = history.expected("fct_sales")
    assert len(sales) == len(history.expected("int_shopify__orders"))
    assert any(sale["is_test_order"] for sale in sales)
    for sale in sales:
        net = sale["gross_sales"] - sale["discounts"] - sale["returns"]
        assert sale["net_sales"] == net
        assert sale["total_sales"] == net + sale["shipping"] + sale["taxes"]
    returned = sum(row["returns"] for row in history.expected("int_shopify__order_refunds"))
    assert sum(sale["returns"] for sale in sales) == returned > 0


def test_a_refund_without_a_transaction_returns_nothing(history: History) -> None:
    without = {
        row["id"]
        for file in of(history, "order_refunds")
        for row in rows(file)
        if not row["transactions"]
    }
    refunds = {r["refund_id"]: r["returns"] for r in history.expected("int_shopify__order_refunds")}
    assert without
    assert {refunds[refund_id] for refund_id in without} == {Decimal("0.0000")}


def test_properties_are_the_json_text_of_the_file(history: History) -> None:
    texts = {
        row["id"]: row["attributes"]["event_properties"]
        for file in of(history, "events")
        for row in rows(file)
    }
    answer = {r["event_id"]: r["properties"] for r in history.expected("int_klaviyo__events")}
    assert answer == texts
    assert all(isinstance(json.loads(text), dict) for text in texts.values())


def test_an_unknown_model_is_refused(history: History) -> None:
    with pytest.raises(ValueError, match="hint: one of int_shopify__orders"):
        history.expected("int_shopify__products")


# Uploads


@pytest.fixture
def raw_uri(bucket: str) -> str:
    """A raw prefix in a bucket that is still to be made."""
    return f"s3://{bucket}-samples/raw"


def bucket_of(raw_uri: str) -> str:
    return raw_uri.split("/")[2]


def test_writing_creates_the_bucket_and_every_object(
    history: History, client: S3Client, raw_uri: str
) -> None:
    files = history.files[:5]
    assert write_files(files, raw_uri, client) == 5
    for file in files:
        found = client.get_object(Bucket=bucket_of(raw_uri), Key=f"raw/{file.key}")
        assert found["Body"].read() == file.data


def test_writing_asks_for_a_bucket_in_the_region_of_the_client(
    history: History, s3: S3Server, raw_uri: str
) -> None:
    asked: list[Any] = []
    abroad = s3_client(dataclasses.replace(s3.access, region="eu-central-1"))
    with contextlib.closing(abroad):
        abroad.meta.events.register(
            "provide-client-params.s3.CreateBucket", lambda params, **_: asked.append(params)
        )
        assert write_files(history.files[:1], raw_uri, abroad) == 1
    assert [params["CreateBucketConfiguration"] for params in asked] == [
        {"LocationConstraint": "eu-central-1"}
    ]


def test_only_new_skips_what_is_there_with_the_same_content(
    history: History, client: S3Client, raw_uri: str
) -> None:
    write_files(history.files[:3], f"{raw_uri}/", client)
    client.put_object(
        Bucket=bucket_of(raw_uri), Key=f"raw/{history.files[1].key}", Body=b"replaced"
    )
    seen: list[str] = []
    written = write_files(
        history.files[:4],
        raw_uri,
        client,
        only_new=True,
        on_written=lambda file: seen.append(file.key),
    )
    assert seen == [history.files[1].key, history.files[3].key]
    assert written == 2


def test_only_s3_addresses_are_written_to(history: History, client: S3Client) -> None:
    with pytest.raises(ValueError, match="s3://bucket/prefix"):
        write_files(history.files[:1], "/tmp/landing", client)


def test_the_command_writes_chosen_streams(
    history: History, client: S3Client, s3: S3Server, raw_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    arguments = ["write", "--raw-uri", raw_uri, "--stream", "klaviyo/lists"]
    first = CliRunner().invoke(app, [*arguments, "--shuffle", "3"])
    again = CliRunner().invoke(app, [*arguments, "--only-new"])
    assert (first.exit_code, again.exit_code) == (0, 0), first.output
    listed = client.list_objects_v2(Bucket=bucket_of(raw_uri))["Contents"]
    assert {found["Key"] for found in listed} == {f"raw/{f.key}" for f in of(history, "lists")}
    assert first.stderr.count("wrote klaviyo/lists/") == len(listed)
    assert again.stderr.startswith(f"0 of {len(listed)} files")


def test_the_command_lists_files_in_order_of_arrival(history: History) -> None:
    result = CliRunner().invoke(app, ["list"])
    assert result.exit_code == 0
    assert [line.split()[-1] for line in result.stdout.splitlines()] == [
        file.key for file in history.files
    ]


def test_the_command_refuses_an_unknown_stream() -> None:
    result = CliRunner().invoke(app, ["list", "--stream", "shopify/products"])
    assert result.exit_code == 2
    assert "shopify/orders" in result.stderr


def test_no_second_airflow_starts_on_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(demo, ["ui", "--port", str(port)])
    assert result.exit_code == 1
    assert f"port {port} of 127.0.0.1: Address already in use\nhint: " in result.output


def test_a_process_that_took_the_id_of_the_server_is_left_alone(tmp_path: Path) -> None:
    access = tmp_path / "s3.json"
    access.write_text(json.dumps({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}))
    with subprocess.Popen(["sleep", "60"]) as other:
        access.with_suffix(".pid").write_text(str(other.pid))
        embedded_s3.stop(access)
        assert other.poll() is None
        other.terminate()
    assert not access.with_suffix(".pid").exists()


def test_files_are_not_dropped_where_there_is_no_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samples.demo.LAKE", tmp_path)
    monkeypatch.delenv("LAKE_CATALOG", raising=False)
    result = CliRunner().invoke(demo, ["drop"])
    assert result.exit_code == 1
    assert "hint: `make demo` first" in result.output
    assert list(tmp_path.iterdir()) == []
