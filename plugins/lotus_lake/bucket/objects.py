"""List raw objects. The only call made is ListObjectsV2."""

from __future__ import annotations

import contextlib
import hashlib
import os.path
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from xml.etree import ElementTree

from lotus_lake.bucket.keys import Layout, is_folder_marker
from lotus_lake.config.connections import S3Access
from lotus_lake.error_translation import TLS_HINT
from lotus_lake.errors import SettingsError, StorageUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PAGE_KEYS = 1000
_CHUNK_BYTES = 2**20
# Connecting, and each wait for the next bytes.
_CONNECT_SECONDS = 10
_READ_SECONDS = 60
# A whole answer, should a store send a byte now and then: a page of a listing, or a chunk.
ANSWER_SECONDS = 120
_CHANGED = (404, 409, 412)  # a conditional delete met another version, a writer, or nothing
# Answers of 4xx that concern the bucket or the credentials, not an object.
_NOT_OF_THE_OBJECT = {
    "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
    "TokenRefreshRequired", "RequestTimeTooSkewed", "RequestTimeout", "SlowDown",
}  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class RawObject:
    """An object as the listing shows it; (key, etag, size_bytes) is its identity."""

    key: str
    etag: str
    size_bytes: int
    last_modified: datetime

    @property
    def identity(self) -> tuple[str, str, int]:
        """What distinguishes this version of the object from others."""
        return self.key, self.etag, self.size_bytes


class _File(Protocol):
    """What is known to have been an object."""

    @property
    def key(self) -> str: ...
    @property
    def identity(self) -> tuple[str, str, int]: ...


FileT = TypeVar("FileT", bound=_File)
Answer = TypeVar("Answer")


def s3_client(access: S3Access, attempts: int = 5) -> S3Client:
    """A client for the object store, with bounded timeouts.

    Args:
        access: How to reach the store.
        attempts: How often a call is tried: five times take 26 s if the store is down, more than
            a person who waits for an answer wants.

    Raises:
        SettingsError: The endpoint or the credentials are malformed.
    """
    client: S3Client = aws_client("s3", access, attempts)
    return client


def aws_client(service: str, access: S3Access, attempts: int) -> Any:
    """A client for the object store or another service at an address, with bounded timeouts.

    Raises:
        SettingsError: The endpoint or the credentials are malformed.
    """
    with access_errors():
        return _client(service, access, attempts)


@contextlib.contextmanager
def access_errors() -> Iterator[None]:
    """Turn what boto3 says about an endpoint or credentials, before it asks anybody, into ours.

    Raises:
        SettingsError: The endpoint or the credentials are malformed.
    """
    try:
        yield
    except client_errors(ValueError) as error:  # STS refuses a role with a ClientError
        raise SettingsError(
            f"the S3 access cannot be used: {error}",
            hint="check the connection aws_default, or AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_PROFILE",
        ) from error


def client_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What a call to the store, or to STS, may raise; others besides."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError  # a proxy answers with a page of its own

    return BotoCoreError, ClientError, ResponseParserError, *others


def _client(service: str, access: S3Access, attempts: int) -> Any:
    import boto3  # 0.4 s that commands about files on disk do not have to wait
    from botocore.config import Config

    return boto3.client(  # type: ignore[call-overload, misc]
        service,
        endpoint_url=access.endpoint_url,
        region_name=access.region,
        verify=access.ca_bundle,
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=(
            access.secret_access_key.get_secret_value() if access.secret_access_key else None
        ),
        aws_session_token=(
            access.session_token.get_secret_value() if access.session_token else None
        ),
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "max_attempts": attempts},
            s3={"addressing_style": "path"} if access.endpoint_url else {},
        ),
    )


def list_request(bucket: str, prefix: str, start_after: str | None) -> dict[str, str]:
    """Arguments of the listing of a window, for any S3 client."""
    request = {"Bucket": bucket, "Prefix": prefix}
    return request if start_after is None else {**request, "StartAfter": start_after}


def read_listings_fast(client: Any) -> None:
    """Let a client, boto's or aiobotocore's, read listings in a quarter of the time.

    botocore's parser of any answer takes 0.1 s for a page, most of it for the times; a poll is
    little else. So objects are read here, with the few fields that are wanted of them, and
    botocore parses what is left of the page.
    """
    client.meta.events.register(
        "before-parse.s3.ListObjectsV2", _take_objects, unique_id=read_listings_fast.__qualname__
    )


def _take_objects(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    if response_dict["status_code"] != 200:
        return  # botocore reads errors
    try:
        # botocore parses the same text with the same parser, and expat ends bombs by itself.
        page = ElementTree.fromstring(response_dict["body"])  # noqa: S314
    except ElementTree.ParseError as error:
        raise _no_listing(response_dict["body"]) from error
    namespace, root, _tail = page.tag.rpartition("ListBucketResult")
    if not root:
        raise _no_listing(response_dict["body"])
    objects = page.findall(f"{namespace}Contents")
    if not objects:
        return
    customized_response_dict["Contents"] = [
        {
            "Key": item.findtext(f"{namespace}Key"),
            "ETag": item.findtext(f"{namespace}ETag"),
            "Size": int(item.findtext(f"{namespace}Size", "")),
            "LastModified": datetime.fromisoformat(item.findtext(f"{namespace}LastModified", "")),
        }
        for item in objects
    ]
    for item in objects:
        page.remove(item)
    response_dict["body"] = ElementTree.tostring(page)


def _no_listing(body: bytes) -> StorageUnavailableError:
    """An answer that lists nothing, which botocore would take for an empty bucket."""
    begin = body[:80].decode("utf-8", "replace")
    return StorageUnavailableError(
        f"the store's answer to a listing is not a listing: {begin!r}",
        hint="is the endpoint_url the store's own address, or that of a proxy or a login page?",
    )


def page_objects(page: Mapping[str, Any]) -> list[RawObject]:
    """The objects of one page of a listing, without folder markers."""
    return [
        RawObject(
            key=item["Key"],
            etag=item["ETag"].strip('"'),
            size_bytes=item["Size"],
            last_modified=item["LastModified"],
        )
        for item in page.get("Contents", ())
        if not is_folder_marker(item["Key"])
    ]


def within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """What a call to the store returns or raises, if its whole answer comes in time.

    botocore limits each wait for bytes, and not their sum. A call that is given up is left to a
    thread that ends with the process.

    Raises:
        TimeoutError: It did not; an `OSError`, like other failures of the network.
    """
    said: list[Answer] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            said.append(ask())
        except BaseException as error:  # noqa: BLE001  raised where the answer is waited for
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not said:
        raise TimeoutError(f"no complete answer within {seconds:.0f} seconds")
    return said[0]


def list_objects(
    client: S3Client, bucket: str, prefix: str, start_after: str | None = None
) -> Iterator[RawObject]:
    """List a prefix in key order, one request per 1,000 keys.

    Args:
        client: S3 client.
        bucket: Bucket of the raw files.
        prefix: Stream prefix, ending in a slash.
        start_after: Exclusive lower bound of the keys; the whole prefix when missing.

    Raises:
        StorageUnavailableError: The store did not answer, or refused; an empty prefix is fine.
    """
    read_listings_fast(client)
    paginator = client.get_paginator("list_objects_v2")
    request = list_request(bucket, prefix, start_after)
    pages = iter(paginator.paginate(**request))  # type: ignore[arg-type]
    try:
        while page := within(ANSWER_SECONDS, lambda: next(pages, None)):
            yield from page_objects(page)
    except client_errors(OSError) as error:
        raise listing_error(bucket, prefix, error) from error


def list_stream(
    client: S3Client, bucket: str, layout: Layout, start_after: str | None = None
) -> Iterator[RawObject]:
    """List the objects of a stream, as `list_objects` does; those of others are left out.

    Raises:
        StorageUnavailableError: The store did not answer, or refused.
    """
    return layout.own(list_objects(client, bucket, layout.prefix, start_after))


def present(client: S3Client, bucket: str, keys: Iterable[str]) -> list[RawObject]:
    """The objects that have these keys now; what their keys have in common is listed.

    Raises:
        StorageUnavailableError: The store did not answer or refused.
    """
    wanted = set(keys)
    return [
        item
        for prefix, _ in _by_folder(wanted)
        for item in list_objects(client, bucket, prefix)
        if item.key in wanted
    ]


def still_there(client: S3Client, bucket: str, files: Iterable[FileT]) -> list[FileT]:
    """The files whose object has neither gone nor changed, folder by folder.

    Raises:
        StorageUnavailableError: The store did not answer or refused.
    """
    by_key: dict[str, list[FileT]] = {}
    for file in files:
        by_key.setdefault(file.key, []).append(file)
    found: list[FileT] = []
    for prefix, keys in _by_folder(by_key):
        there = {item.identity for item in list_objects(client, bucket, prefix)}
        found += [file for key in keys for file in by_key[key] if file.identity in there]
    return found


def _by_folder(keys: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Keys folder by folder, with what those of a folder begin with."""
    by_folder: dict[str, list[str]] = {}
    for key in keys:
        by_folder.setdefault(key.rpartition("/")[0], []).append(key)
    # A folder may hold the whole history; names of neighbours begin alike.
    return [(os.path.commonprefix(some), some) for _, some in sorted(by_folder.items())]  # noqa: RUF071


def delete_version(client: S3Client, bucket: str, item: RawObject) -> bool:
    """Delete an object if it is still this version; returns whether it was.

    A store that knows no conditional deletes ignores the condition.

    Raises:
        StorageUnavailableError: The store did not answer, or refused.
    """
    try:
        client.delete_object(Bucket=bucket, Key=item.key, IfMatch=f'"{item.etag}"')
    except client_errors() as error:
        answer = getattr(error, "response", None) or {}
        if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") in _CHANGED:
            return False
        raise StorageUnavailableError(
            f"deleting s3://{bucket}/{item.key} failed: {error}",
            hint="grant s3:DeleteObject and s3:GetObject on the raw prefix",
        ) from error
    return True


def store_time(client: S3Client, bucket: str, prefix: str) -> datetime | None:
    """What time it is by the store's clock, to the second; `None` if it does not say.

    Raises:
        StorageUnavailableError: The store did not answer, or refused.
    """
    try:
        answer = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except client_errors() as error:
        raise listing_error(bucket, prefix, error) from error
    text = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(text) if text else None


@dataclass(frozen=True, slots=True)
class Sight:
    """What the store says of one object.

    Attributes:
        etag: ETag of the object as it is now, without quotes.
        size_bytes: Its size.
        refusal: Why it cannot be read; `None` when it can.
    """

    etag: str = ""
    size_bytes: int = 0
    refusal: str | None = None


def look_at(client: S3Client, bucket: str, key: str, *, whole: bool = False) -> Sight:
    """Open an object, and read its first bytes, or all of it.

    Raises:
        StorageUnavailableError: The store does not answer, or its answer is not about this object.
    """
    from botocore.exceptions import ClientError

    try:
        opened = within(ANSWER_SECONDS, lambda: client.get_object(Bucket=bucket, Key=key))
        size_bytes, body = opened["ContentLength"], opened["Body"]
        left = size_bytes if whole else min(size_bytes, 1)
        while left > 0 and (chunk := within(ANSWER_SECONDS, lambda: body.read(_CHUNK_BYTES))):
            left -= len(chunk)
        body.close()
        return Sight(opened["ETag"].strip('"'), size_bytes)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error.response.get("Error", {}).get("Code", "")
        if code in _NOT_OF_THE_OBJECT or not 400 <= status < 500 or status == 429:
            raise reading_error(bucket, key, error) from error
        return Sight(refusal=f"the store refuses to give it: {error}")
    except client_errors(OSError) as error:
        raise reading_error(bucket, key, error) from error


def reading_error(bucket: str, key: str, error: Exception) -> StorageUnavailableError:
    """What a failed read is reported as; botocore's texts hold no secrets."""
    return StorageUnavailableError(
        f"reading s3://{bucket}/{key} failed: {error}",
        hint=TLS_HINT
        if "CERTIFICATE_VERIFY_FAILED" in str(error)
        else "check the connection aws_default (or AWS_*), its endpoint_url and s3:GetObject",
    )


def listing_error(bucket: str, prefix: str, error: Exception) -> StorageUnavailableError:
    """What a failed listing is reported as; botocore's texts hold no secrets."""
    return StorageUnavailableError(
        f"listing s3://{bucket}/{prefix} failed: {error}",
        hint=TLS_HINT
        if "CERTIFICATE_VERIFY_FAILED" in str(error)
        else "check the connection aws_default (or AWS_*), its endpoint_url and s3:ListBucket",
    )


class Fingerprint:
    """A short text that changes when any identity in a listing does; fed page by page."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, objects: Iterable[RawObject]) -> None:
        """Add objects, in listing order."""
        for item in objects:
            self._digest.update(f"{item.key}\0{item.etag}\0{item.size_bytes}\n".encode())

    def text(self) -> str:
        """The fingerprint of what was added so far."""
        return self._digest.hexdigest()
