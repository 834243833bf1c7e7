"""Files damaged at random: no file stops another one, and each is settled with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lotus_lake.config.settings import Settings
from tests.catalogs import on_sqlite
from tests.chaos.fuzz import fuzz

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = on_sqlite


def test_no_damaged_file_stops_another(settings: Settings, client: S3Client, bucket: str) -> None:
    """The short form; `make chaos` damages thousands."""
    tally, wrongs = fuzz(settings, client, seed=1, count=160)
    assert wrongs == []
    assert tally["quarantined"] > 50 < tally["registered"] + tally["copied"]
