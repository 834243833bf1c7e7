"""Copy files of the lake inside the store: their bytes do not pass through this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from lotus_lake.bucket.objects import client_errors, reading_error, s3_client
from lotus_lake.config.connections import S3Access

_THREADS = 16
# What a store copies at once; larger objects are copied in parts.
_PART_BYTES = 4 * 1024**3


def can_copy(source: str, target: str) -> bool:
    """Whether a file can be copied from one address to another in this way."""
    return source.startswith("s3://") == target.startswith("s3://")


def copy_files(access: S3Access, copies: Mapping[str, str]) -> None:
    """Copy files, in parallel; on a disk, the copy is another name of the same file.

    Args:
        access: Access to the store.
        copies: Address of each copy, by the address of the file.

    Raises:
        StorageUnavailableError: An object could not be copied.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda pair: _copy(access, *pair), copies.items()))


def _copy(access: S3Access, source: str, target: str) -> None:
    if not source.startswith("s3://"):
        _link(source, target)
        return
    from boto3.s3.transfer import TransferConfig

    origin, copy = urlsplit(source), urlsplit(target)
    key = origin.path.lstrip("/")
    parts = TransferConfig(
        multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False
    )
    try:
        s3_client(access).copy(
            {"Bucket": origin.netloc, "Key": key},
            copy.netloc,
            copy.path.lstrip("/"),
            Config=parts,
        )
    except client_errors() as error:
        raise reading_error(origin.netloc, key, error) from error


def _link(source: str, target: str) -> None:
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        shutil.copyfile(source, target)
