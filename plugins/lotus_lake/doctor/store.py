"""Checks of the object store: rights, clock, and lifecycle rules that delete raw objects."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from botocore.exceptions import ClientError

from lotus_lake.bucket.keys import is_hidden, layout_of
from lotus_lake.bucket.notifications import queue_address
from lotus_lake.bucket.objects import (
    PAGE_KEYS,
    aws_client,
    client_errors,
    list_objects,
    store_time,
)
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream
from lotus_lake.doctor.findings import Result, ok, problem, skipped
from lotus_lake.quantities import counted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_SKEW_SECONDS = 300
_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
# Each costs a request.
_STREAMS_LOOKED_AT = 100
_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}  # GLACIER_IR is read like any other
_WAITING = "ApproximateNumberOfMessages"
_MANY_MESSAGES = 10_000
_NO_RULES = "NoSuchLifecycleConfiguration"
_NOT_THERE = {"NotImplemented", "MethodNotAllowed", "AccessDenied", "501", "405", "403"}


@dataclass(frozen=True, slots=True)
class Store:
    """The bucket, and the streams that are fed from it."""

    settings: Settings
    client: S3Client
    streams: tuple[Stream, ...]


def bucket_is_listed(store: Store) -> Result:
    """The store answers, the credentials are right, and the raw prefix can be listed."""
    settings = store.settings
    try:
        found = store.client.list_objects_v2(
            Bucket=settings.bucket, Prefix=settings.raw_prefix, MaxKeys=1
        )
    except client_errors() as error:
        where = settings.s3.endpoint_url or "AWS"
        return problem(
            f"listing {settings.raw_uri} at {where} failed: {error}", hint=_listing_hint(error)
        )
    there = "has objects" if found.get("KeyCount") else "is still empty"
    return ok(f"{settings.raw_uri} {there}")


def raw_objects_can_be_read(store: Store) -> Result:
    """An object below the raw prefix can be opened."""
    settings = store.settings
    pages = store.client.get_paginator("list_objects_v2").paginate(
        Bucket=settings.bucket, Prefix=settings.raw_prefix, PaginationConfig={"MaxItems": 100}
    )
    keys = (i["Key"] for page in pages for i in page.get("Contents", ()) if i["Size"])
    key = next(keys, None)
    if key is None:
        return skipped(f"there is no object to read below {settings.raw_uri}")
    try:
        # Not with a range: rclone then sends the checksum of the whole object, which boto3 refuses.
        with closing(store.client.get_object(Bucket=settings.bucket, Key=key)["Body"]) as body:
            body.read(4)
    except client_errors() as error:
        return problem(
            f"reading s3://{settings.bucket}/{key} failed: {error}",
            hint=f"grant s3:GetObject on {settings.raw_uri}/*",
        )
    return ok(f"read the start of {key}")


def keys_are_of_their_path_format(store: Store) -> Result:
    """Of each stream's first thousand keys, some can be fed."""
    odd, seen, strangers = list[str](), 0, 0
    for stream in store.streams[:_STREAMS_LOOKED_AT]:
        layout = layout_of(store.settings, stream)
        listed = list_objects(store.client, store.settings.bucket, layout.prefix)
        keys = [item.key for item in islice(listed, PAGE_KEYS) if not is_hidden(item.key)]
        usable = [key for key in keys if layout.problem(key) is None]
        seen, strangers = seen + len(keys), strangers + len(keys) - len(usable)
        if keys and not usable:
            odd.append(f"{stream.id}: {layout.problem(keys[0])}: {keys[0]}")
    if odd:
        return problem(
            f"no key of {counted(len(odd), 'stream')} can be fed; {odd[0]}",
            hint="set LAKE_PATH_FORMAT, or namespace, stream_name and feeder.path_format of the "
            "stream, to what Airbyte's S3 destination has; see docs/layouts.md",
        )
    left = f"; {strangers} are other streams', or of no path format" if strangers else ""
    return ok(f"looked at {counted(seen, 'key')}{left}")


def data_path_can_be_written(store: Store) -> Result:
    """A file can be put below the data path, and deleted there.

    The right to delete raw objects is not tested: it would cost one.
    """
    path = store.settings.data_path
    try:
        _write_probe(store, path)
    except client_errors(OSError) as error:
        return problem(
            f"writing below {path} failed: {error}",
            hint=f"grant s3:PutObject and s3:DeleteObject on {path}*"
            if path.startswith("s3://")
            else f"let this user write to {path}",
        )
    return ok(f"wrote and deleted a probe below {path}")


def clock_agrees_with_the_store(store: Store) -> Result:
    """This machine and the store agree on the time: S3 refuses requests 15 minutes off."""
    at = store_time(store.client, store.settings.bucket, store.settings.raw_prefix)
    if at is None:
        return skipped("the store's answers carry no time")
    skew = (datetime.now(UTC) - at).total_seconds()
    if abs(skew) > MAX_SKEW_SECONDS:
        side = "ahead of" if skew > 0 else "behind"
        return problem(
            f"the clock of this machine is {abs(skew) / 60:.0f} minutes {side} the store's",
            hint="synchronise the clock (chrony, systemd-timesyncd); S3 refuses requests that are "
            "15 minutes off",
        )
    return ok(f"{abs(skew):.0f} s apart")


def no_rule_takes_raw_objects_too_early(store: Store) -> Result:
    """No lifecycle rule deletes or archives raw objects before the feeder retires them."""
    try:
        answer = store.client.get_bucket_lifecycle_configuration(Bucket=store.settings.bucket)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == _NO_RULES:
            return ok("the bucket has no lifecycle rules")
        if code in _NOT_THERE:
            return skipped(f"the lifecycle rules cannot be read: {code}")
        raise
    if "Rules" not in answer:
        return skipped("the store does not support lifecycle rules")
    longest = max((stream.feeder.retention_days for stream in store.streams), default=0)
    early = [
        f"{rule.get('ID', 'a rule')} after {days} days"
        for rule in answer["Rules"]
        if (days := days_to_read(rule, store.settings.raw_prefix)) is not None and days <= longest
    ]
    if early:
        return problem(
            f"lifecycle rules delete or archive raw objects early: {', '.join(early)}; the longest "
            f"retention_days is {longest}, and files that wait longer would be lost",
            hint="remove the rules from the raw prefix: the feeder retires files by itself, once "
            "every model has read them",
        )
    return ok(f"{len(answer['Rules'])} rules, none of which deletes or archives raw objects early")


def days_to_read(rule: Mapping[str, Any], raw_prefix: str) -> int | None:
    """Days after which a lifecycle rule deletes or archives raw objects; `None` if it never does.

    An object in an archive answers 403 until somebody restores it.
    """
    condition = rule.get("Filter") or {}
    prefix = (
        rule.get("Prefix")
        or condition.get("Prefix")
        or condition.get("And", {}).get("Prefix")
        or ""
    )
    touches = raw_prefix.startswith(prefix) or prefix.startswith(raw_prefix)
    archived = [move for move in rule.get("Transitions", ()) if move["StorageClass"] in _ARCHIVES]
    actions = [rule.get("Expiration") or {}, *archived]
    if rule.get("Status") != "Enabled" or not touches:
        return None
    ends = [0 if "Date" in action else action.get("Days") for action in actions]
    return min((days for days in ends if days is not None), default=None)


def _write_probe(store: Store, path: str) -> None:
    name = f"lotus-lake-doctor-{uuid4().hex}"
    if not path.startswith("s3://"):
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=name) as file:
            file.write(b"probe")
        return
    address = urlsplit(path)
    key = address.path.lstrip("/") + name
    store.client.put_object(Bucket=address.netloc, Key=key, Body=b"probe")
    store.client.delete_object(Bucket=address.netloc, Key=key)


def _listing_hint(error: Exception) -> str:
    code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    if code in _CREDENTIALS:
        return "the keys are wrong: check aws_default, or AWS_ACCESS_KEY_ID and its secret"
    if code == "NoSuchBucket":
        return "create the bucket, or set LAKE_RAW_URI to the one that Airbyte writes to"
    if code == "AccessDenied":
        return "grant s3:ListBucket on the bucket"
    return "check AWS_ENDPOINT_URL, or endpoint_url of aws_default, and the network"


def events_can_be_read(store: Store) -> Result:
    """The queue of events answers, and somebody reads it."""
    url = store.settings.events_queue
    if url is None:
        return skipped("LAKE_EVENTS_QUEUE is not set: streams are polled")
    endpoint_url, region = queue_address(url)
    access = replace(
        store.settings.s3, endpoint_url=endpoint_url, region=region or store.settings.s3.region
    )
    try:
        with closing(aws_client("sqs", access, attempts=2)) as client:
            answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=[_WAITING])
    except client_errors(OSError) as error:
        return problem(
            f"the queue {url} does not answer: {error}",
            hint="check LAKE_EVENTS_QUEUE, and grant the rights of deploy/policies/sqs-events.json",
        )
    waiting = int(answer["Attributes"][_WAITING])
    if waiting > _MANY_MESSAGES:
        return problem(
            f"{counted(waiting, 'message')} wait in the queue {url}",
            hint="are triggerers running with LAKE_EVENTS_QUEUE, and streams waiting?",
        )
    return ok(f"{counted(waiting, 'message')} wait in the queue")


CHECKS = (
    raw_objects_can_be_read,
    keys_are_of_their_path_format,
    data_path_can_be_written,
    clock_agrees_with_the_store,
    no_rule_takes_raw_objects_too_early,
    events_can_be_read,
)
ALL = (bucket_is_listed, *CHECKS)
