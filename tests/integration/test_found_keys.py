"""`add-stream` finds how the objects of a stream are named by looking at the bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lotus_lake.bucket.keys import layout_of
from lotus_lake.config.settings import Settings
from lotus_lake.scaffold.key_layout import look_at_keys
from lotus_lake.scaffold.stream_files import plan_files
from lotus_lake.scaffold.stream_json import Choices, KeyWords
from tests.catalogs import on_sqlite

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = on_sqlite

NAMES = "${NAMESPACE}/${STREAM_NAME}/"


@pytest.mark.parametrize(
    ("key", "words", "lists_all"),
    [
        ("web_shop/order_lines/year=2026/month=03/day=10/0.parquet", KeyWords(), False),
        (
            "web_shop/order_lines/2026_03_10_1773133200000_0.parquet",
            KeyWords(path_format=f"{NAMES}${{YEAR}}_${{MONTH}}_${{DAY}}_${{EPOCH}}_"),
            False,
        ),
        (
            "Web-Shop/Order-Lines/year=2026/month=03/day=10/0.parquet",
            KeyWords("Web-Shop", "Order-Lines"),
            False,
        ),
        (
            "public/ORDER_LINES/dt=2026-03-10/0.parquet",
            KeyWords("public", "ORDER_LINES", f"{NAMES}dt=${{YEAR}}-${{MONTH}}-${{DAY}}/"),
            False,
        ),
        (
            "OrderLines/2026/03/10/07/0.parquet",
            KeyWords("", "OrderLines", "${STREAM_NAME}/${YEAR}/${MONTH}/${DAY}/${HOUR}/"),
            False,
        ),
        (
            "web_shop/order_lines/17_1773133200000_0.parquet",
            KeyWords(
                path_format=f"{NAMES}{{sync_id}}_{{timestamp}}_{{part_number}}{{format_extension}}"
            ),
            True,
        ),
        ("web_shop/order_lines/0b83b2f5.parquet", KeyWords(path_format=NAMES), True),
    ],
)
def test_the_keys_of_a_stream_are_understood(
    settings: Settings, client: S3Client, key: str, words: KeyWords, lists_all: bool
) -> None:
    for name in (key, "web_shop/order/year=2026/month=03/day=10/1.parquet", "other/x.csv"):
        client.put_object(Bucket=settings.bucket, Key=f"raw/{name}", Body=b"x")
    found = look_at_keys(settings, "web_shop", "order_lines")
    assert found.words == words
    assert key in found.remark
    assert ("every poll lists all" in found.remark) == lists_all


def test_what_was_understood_stands_in_the_stream_json(
    settings: Settings, client: S3Client
) -> None:
    source = settings.sources_dir / "web_shop" / "order_lines.json"
    source.parent.mkdir(parents=True)
    source.write_text(
        '{"name": "Order Lines", "source_defined_primary_key": [["id"]], '
        '"json_schema": {"properties": {"id": {"type": "integer"}}}}'
    )
    key = "raw/WebShop/Order_Lines/2026_03_10_1773133200000_0.parquet"
    client.put_object(Bucket=settings.bucket, Key=key, Body=b"x")
    words = look_at_keys(settings, "web_shop", "order_lines").words
    choices = Choices(sync_mode="full_refresh")
    stream = plan_files(settings, "web_shop", "order_lines", choices, keys=words).stream
    assert (stream.namespace, stream.stream_name) == ("WebShop", "Order Lines")
    assert layout_of(settings, stream).takes(key)
    assert layout_of(settings, stream).problem(key) is None


def test_a_bucket_that_is_not_there_tells_nothing(settings: Settings, client: S3Client) -> None:
    client.delete_bucket(Bucket=settings.bucket)
    found = look_at_keys(settings, "web_shop", "order_lines")
    assert found.words == KeyWords()
    assert "NoSuchBucket" in found.remark
