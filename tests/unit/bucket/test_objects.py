"""Listing, against a real server."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from lotus_lake.bucket.objects import (
    Fingerprint,
    RawObject,
    list_objects,
    page_objects,
    s3_client,
    still_there,
)
from lotus_lake.config.connections import S3Access
from lotus_lake.errors import StorageUnavailableError
from tests.requests import counted
from tests.servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SIZES = [0, 1, 999, 1000, 1001, 2001]
SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture(scope="module")
def filled(s3: S3Server, client: S3Client) -> str:
    """A bucket with a prefix per size."""
    bucket = "filled"
    client.create_bucket(Bucket=bucket)
    for size in SIZES:
        s3.put_many(bucket, (f"raw-{size}/part_{number}.parquet" for number in range(size)), b"x")
    return bucket


@pytest.mark.parametrize("size", SIZES)
def test_a_listing_costs_one_request_per_thousand_keys(
    client: S3Client, filled: str, size: int
) -> None:
    with counted(client, "ListObjectsV2") as requests:
        found = list(list_objects(client, filled, f"raw-{size}/"))
    assert len(requests) == max(1, -(-size // 1000))
    assert len(found) == size
    assert [item.key for item in found] == sorted(item.key for item in found)


def test_a_listing_makes_no_other_requests(client: S3Client, filled: str) -> None:
    with counted(client) as requests:
        list(list_objects(client, filled, "raw-1001/"))
    assert requests == ["ListObjectsV2", "ListObjectsV2"]


def test_pages_are_fetched_only_when_needed(client: S3Client, filled: str) -> None:
    with counted(client, "ListObjectsV2") as requests:
        objects = list_objects(client, filled, "raw-2001/")
        assert requests == []
        next(objects)
    assert len(requests) == 1


def test_a_listing_starts_after_a_key(client: S3Client, filled: str) -> None:
    start = "raw-1001/part_998.parquet"
    with counted(client, "ListObjectsV2") as requests:
        found = [item.key for item in list_objects(client, filled, "raw-1001/", start)]
    assert found == ["raw-1001/part_999.parquet"]
    assert len(requests) == 1


def test_an_object_is_known_by_key_etag_and_size(client: S3Client, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="raw/a.parquet", Body=b"one")
    before = list(list_objects(client, bucket, "raw/"))
    client.put_object(Bucket=bucket, Key="raw/a.parquet", Body=b"two")
    (after,) = list_objects(client, bucket, "raw/")
    assert len(before) == 1
    assert (before[0].key, before[0].size_bytes) == (after.key, after.size_bytes)
    assert before[0].etag != after.etag
    assert '"' not in after.etag
    assert after.last_modified.tzinfo is not None


def test_files_are_there_as_long_as_nobody_deletes_or_replaces_them(
    client: S3Client, bucket: str
) -> None:
    for key in ("raw/day=1/a", "raw/day=1/b", "raw/day=1/c", "raw/day=2/d", "raw/day=3/e"):
        client.put_object(Bucket=bucket, Key=key, Body=b"one")
    files = [item for item in list_objects(client, bucket, "raw/") if item.key != "raw/day=1/c"]
    client.delete_object(Bucket=bucket, Key="raw/day=1/a")
    client.put_object(Bucket=bucket, Key="raw/day=3/e", Body=b"two")
    with counted(client) as requests:
        left = still_there(client, bucket, files)
    assert [file.key for file in left] == ["raw/day=1/b", "raw/day=2/d"]
    assert requests == ["ListObjectsV2"] * 3
    assert still_there(client, bucket, []) == []


def test_objects_are_read_as_boto_reads_them(s3: S3Server, client: S3Client, bucket: str) -> None:
    for name in ("a.parquet", "b c+d%20e&f;<g>'h'.parquet", "Größe=1/é.parquet", "empty"):
        client.put_object(Bucket=bucket, Key=f"raw/{name}", Body=name.encode()[:-5])
    with closing(s3_client(s3.access)) as plain:
        pages = plain.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="raw/")
        expected = [item for page in pages for item in page_objects(page)]
    assert list(list_objects(client, bucket, "raw/")) == expected
    assert len({item.size_bytes for item in expected}) == len(expected) == 4


def test_an_empty_prefix_is_no_error(client: S3Client, bucket: str) -> None:
    assert list(list_objects(client, bucket, "raw/")) == []


def test_folder_markers_are_no_objects() -> None:
    item = {"ETag": '"e"', "Size": 1, "LastModified": datetime(2026, 3, 1, tzinfo=UTC)}
    page = {"Contents": [{"Key": "raw/day=01/", **item}, {"Key": "raw/day=01/a.parquet", **item}]}
    assert [found.key for found in page_objects(page)] == ["raw/day=01/a.parquet"]
    assert page_objects({}) == []


# A listing that fails is an error, never an empty list


@pytest.fixture(params=["wrong secret", "unknown key id"])
def broken(request: pytest.FixtureRequest, s3: S3Server) -> S3Access:
    key_id = s3.access.access_key_id if request.param == "wrong secret" else "stranger"
    return dataclasses.replace(s3.access, access_key_id=key_id, secret_access_key=SecretStr(SECRET))


def test_a_store_that_refuses_is_unavailable(broken: S3Access, bucket: str) -> None:
    with closing(s3_client(broken)) as client, pytest.raises(StorageUnavailableError) as caught:
        list(list_objects(client, bucket, "raw/orders/"))
    text = f"{caught.value!r} {caught.value}"
    assert f"s3://{bucket}/raw/orders/" in text
    assert "aws_default" in str(caught.value.hint)
    assert SECRET not in text


def test_a_bucket_that_is_missing_is_unavailable(client: S3Client) -> None:
    with pytest.raises(StorageUnavailableError, match="NoSuchBucket"):
        list(list_objects(client, "no-such-bucket", "raw/"))


class Answering(BaseHTTPRequestHandler):
    """Answers every request with 200 and the body of its server."""

    def do_GET(self) -> None:
        body: bytes = self.server.body  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html xmlns='http://www.w3.org/1999/xhtml'><body>Please log in</body></html>",
        b"<ListAllMyBucketsResult/>",
        b"{}",
    ],
    ids=["empty", "XHTML", "another root", "JSON"],
)
def test_an_answer_that_lists_nothing_is_no_empty_bucket(s3: S3Server, body: bytes) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.body = body  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        access = dataclasses.replace(
            s3.access, endpoint_url=f"http://127.0.0.1:{server.server_port}"
        )
        with (
            closing(s3_client(access)) as client,
            pytest.raises(StorageUnavailableError),
        ):
            list(list_objects(client, "bucket", "raw/"))
        server.shutdown()


# Fingerprints

FILES = [
    RawObject(f"part_{number}", f"etag-{number}", number, datetime(2026, 3, 1, tzinfo=UTC))
    for number in range(5)
]


def fingerprint(*chunks: list[RawObject]) -> str:
    digest = Fingerprint()
    for chunk in chunks:
        digest.update(chunk)
    return digest.text()


def test_a_fingerprint_does_not_depend_on_the_pages() -> None:
    assert fingerprint(FILES) == fingerprint(FILES[:2], [], FILES[2:])


@pytest.mark.parametrize(
    "changed",
    [
        FILES[1:],
        [*FILES, dataclasses.replace(FILES[0], key="part_9")],
        [dataclasses.replace(FILES[0], etag="other"), *FILES[1:]],
        [dataclasses.replace(FILES[0], size_bytes=7), *FILES[1:]],
        [dataclasses.replace(FILES[0], key="part_0e", etag="tag-0"), *FILES[1:]],
        [],
    ],
    ids=["one gone", "one more", "another etag", "another size", "other borders", "none"],
)
def test_a_fingerprint_changes_with_any_identity(changed: list[RawObject]) -> None:
    assert fingerprint(changed) != fingerprint(FILES)


def test_a_fingerprint_ignores_when_an_object_was_written() -> None:
    touched = [dataclasses.replace(FILES[0], last_modified=datetime.now(UTC)), *FILES[1:]]
    assert fingerprint(touched) == fingerprint(FILES)
