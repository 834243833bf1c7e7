"""What only a real store does: ETags of parts, conditional writes; the whole lake is in it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.upkeep.compaction import compact
from lotus_lake.upkeep.expiry import untouchable_since, upkeep
from lotus_lake.upkeep.orphans import schedule_orphans
from tests.catalogs import on_sqlite
from tests.ceph import is_wanted
from tests.consuming import age
from tests.feeds import DAY, Feed, parquet, some_rows
from tests.requests import counted

pytestmark = [
    on_sqlite,
    pytest.mark.skipif(not is_wanted(), reason="rclone has none of it; `make test-s3`"),
]

PART_BYTES = 5 * 1024**2
WRITERS = 8


@pytest.fixture
def environment(environment: dict[str, str], bucket: str) -> dict[str, str]:
    """The lake's own files are in the store, too."""
    return environment | {"LAKE_DATA_PATH": f"s3://{bucket}/lake"}


def put_in_parts(feed: Feed, name: str, data: bytes) -> None:
    """Put an object as those do who do not know its size at the start."""
    where = {"Bucket": feed.settings.bucket, "Key": feed.key(name)}
    upload = {**where, "UploadId": feed.client.create_multipart_upload(**where)["UploadId"]}
    parts = []
    for number, start in enumerate(range(0, len(data), PART_BYTES), start=1):
        part = feed.client.upload_part(
            **upload, PartNumber=number, Body=data[start : start + PART_BYTES]
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    feed.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})


def test_an_object_of_several_parts_lands_and_its_replacement_is_noticed(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(on_overwrite="reload")
    key = feed.put("part_0.parquet", rows=200_000)
    whole = feed.client.get_object(Bucket=feed.settings.bucket, Key=key)["Body"].read()
    assert len(whole) > PART_BYTES
    put_in_parts(feed, "part_0.parquet", whole)
    assert feed.run(lake).total.registered == 1
    ((etag, size_bytes),) = lake.rows(f"SELECT etag, size_bytes FROM {META}.feeder_files")
    assert (etag[-2:], size_bytes) == (f"-{-(-len(whole) // PART_BYTES)}", len(whole))
    assert feed.landed(lake) == feed.rows_of([key])
    # The very same bytes have another ETag when they come in one piece: a version of their own.
    feed.put_bytes("part_0.parquet", whole)
    assert feed.run(lake).total.registered == 1
    assert feed.events(lake) == {key: ["replaced", "registered"]}
    assert feed.landed(lake) == feed.rows_of([key])
    put_in_parts(feed, "part_0.parquet", whole)
    feed.run(lake)
    assert feed.landed(lake) == feed.rows_of([key])


def test_of_writers_who_want_the_same_new_key_one_wins_and_lands(feed: Feed, lake: Lake) -> None:
    key = feed.key("part_0.parquet")
    offers = [some_rows(3) for _ in range(WRITERS)]

    def put(number: int, **condition: str) -> str:
        try:
            feed.client.put_object(
                Bucket=feed.settings.bucket, Key=key, Body=parquet(offers[number]), **condition
            )
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "done"

    with ThreadPoolExecutor(WRITERS) as pool:
        ends = list(pool.map(lambda number: put(number, IfNoneMatch="*"), range(WRITERS)))
    assert sorted(ends) == ["PreconditionFailed"] * (WRITERS - 1) + ["done"]
    winner = ends.index("done")
    feed.sent[key] = [row["_airbyte_raw_id"] for row in offers[winner]]
    assert feed.run(lake).total.registered == 1
    assert feed.landed(lake) == feed.rows_of([key])
    # A writer who has seen another version is refused; one who has seen this one replaces it.
    etag = feed.client.head_object(Bucket=feed.settings.bucket, Key=key)["ETag"].strip('"')
    assert put(0, IfMatch="0" * 32) == "PreconditionFailed"
    assert feed.run(lake).listing.discovered == 0
    assert put(winner - 1, IfMatch=etag) == "done"
    assert feed.run(lake).listing.quarantined == 1
    assert feed.events(lake) == {key: ["replaced", "quarantined"]}


def test_a_window_of_several_pages_is_fed_to_its_last_file(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    feed = make_feed(batch_files=400, validation="footer")
    data = parquet(some_rows(1))
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda n: feed.put_bytes(f"part_{n}.parquet", data), range(1101)))
    with counted(feed.client) as sent:
        done = feed.run(lake)
    assert sent.count("ListObjectsV2") == 2
    assert (done.listing.listed, done.total.registered) == (1101, 1101)
    assert sum(feed.landed(lake).values()) == 1101
    assert feed.run(lake).listing.discovered == 0


def test_a_lake_in_the_store_is_written_compacted_and_cleaned_there(
    make_feed: Callable[..., Feed], settings: Settings
) -> None:
    feed = make_feed()
    with open_lake(settings) as lake:
        for number in range(9):
            feed.put(f"part_{number}.parquet", day=DAY + timedelta(days=number))
            feed.run(lake)
            source = f"{LAKE}.staging.{feed.stream.landing_table}"
            if number == 0:
                lake.con.execute(f"CREATE TABLE {LAKE}.main.copied AS FROM {source} LIMIT 0")
                lake.con.execute(f"CALL {LAKE}.set_option('data_inlining_row_limit', 0)")
            lake.con.execute(f"INSERT INTO {LAKE}.main.copied FROM {source}")
        expected = lake.rows(f"FROM {LAKE}.main.copied WHERE id = 0 ORDER BY ALL")
        assert len(expected) == 45  # what has landed was copied again with every new file
        before = own_files(feed)
        assert len(before) >= 9
        assert "main.copied" in {work.table for work in compact(lake).tables}
        lake.con.execute(f"DELETE FROM {LAKE}.main.copied WHERE id > 0")
        age(lake, timedelta(days=10))
        upkeep(lake)  # what is unused is on the list
        age(lake, timedelta(days=10))
        deleted = upkeep(lake).files_deleted
        root = settings.uri("")
        assert {address.removeprefix(root) for address in deleted} <= before
        assert own_files(feed).isdisjoint(address.removeprefix(root) for address in deleted)
        assert deleted
        assert lake.rows(f"FROM {LAKE}.main.copied ORDER BY ALL") == expected
        assert schedule_orphans(lake, untouchable_since(lake)).files == ()
        assert feed.landed(lake) == feed.rows_of(feed.sent)


def own_files(feed: Feed) -> set[str]:
    """Keys of the lake's own files."""
    pages = feed.client.get_paginator("list_objects_v2").paginate(
        Bucket=feed.settings.bucket, Prefix="lake/"
    )
    return {item["Key"] for page in pages for item in page.get("Contents", ())}
