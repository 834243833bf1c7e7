"""Uploads of sample files to a bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from samples.history import SampleFile

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import BucketLocationConstraintType


def write_files(
    files: Iterable[SampleFile],
    raw_uri: str,
    client: S3Client,
    *,
    only_new: bool = False,
    on_written: Callable[[SampleFile], None] | None = None,
) -> int:
    """Upload files one after the other, in the order given.

    Args:
        files: Any part of a history. Objects that were deleted from the bucket are uploaded again
            when they are among them, so leave out what must not come back.
        raw_uri: The raw prefix, `s3://bucket/prefix`; the bucket is created when it is missing.
        client: Talks to the S3 server.
        only_new: Skip objects that are there with the same content (size and MD5 ETag).
        on_written: Called after each upload.

    Returns:
        The number of objects uploaded.

    Raises:
        ValueError: `raw_uri` is not an S3 address.
    """
    bucket, prefix = _split(raw_uri)
    _ensure_bucket(client, bucket)
    present = _present(client, bucket, prefix) if only_new else {}
    written = 0
    for file in files:
        key = prefix + file.key
        if present.get(key) == (
            len(file.data),
            hashlib.md5(file.data, usedforsecurity=False).hexdigest(),
        ):
            continue
        client.put_object(Bucket=bucket, Key=key, Body=file.data)
        written += 1
        if on_written is not None:
            on_written(file)
    return written


def _split(raw_uri: str) -> tuple[str, str]:
    address = urlsplit(raw_uri)
    if address.scheme != "s3" or not address.netloc:
        raise ValueError(f"cannot write to {raw_uri!r}; hint: use s3://bucket/prefix")
    prefix = address.path.strip("/")
    return address.netloc, f"{prefix}/" if prefix else ""


def _ensure_bucket(client: S3Client, bucket: str) -> None:
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in ("404", "NoSuchBucket"):
            raise
        _create_bucket(client, bucket)


def _create_bucket(client: S3Client, bucket: str) -> None:
    """S3 wants every region but its oldest named, and refuses the name of that one."""
    region = client.meta.region_name
    if region in (None, "aws-global", "us-east-1"):
        client.create_bucket(Bucket=bucket)
    else:
        place = cast("BucketLocationConstraintType", region)
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": place})


def _present(client: S3Client, bucket: str, prefix: str) -> dict[str, tuple[int, str]]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {
        found["Key"]: (found["Size"], found["ETag"].strip('"'))
        for page in pages
        for found in page.get("Contents", [])
    }
