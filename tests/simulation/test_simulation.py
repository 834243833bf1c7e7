"""Three days of hourly syncs with upkeep: what does not depend on the machine's speed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lotus_lake.config.settings import Settings
from tests.catalogs import on_sqlite
from tests.simulation.branch import Branch
from tests.simulation.shop import REFUND_HOURS, Shop, write_streams

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DAYS, HOURS = 3, 12


@on_sqlite
def test_days_of_syncs_leave_few_files_and_the_records_as_they_are(
    environment: dict[str, str], client: S3Client, tmp_path: Path
) -> None:
    settings = Settings.from_env(environment)
    write_streams(settings.streams_dir)
    shop = Shop(seed=7, history=200)
    with Branch(settings, client, has_upkeep=True) as branch:
        for hour in range(DAYS * HOURS):
            branch.sync(shop.sync(hour))
            if hour % HOURS == HOURS - 1:
                before = set(branch.registered())
                branch.end_day()
                assert branch.rows() == shop.expected()
                assert set(branch.registered()) == before
        assert len(before) == DAYS * HOURS + DAYS * HOURS // REFUND_HOURS
        assert all(path.startswith(settings.raw_uri) for path in before)
        for day in branch.days:
            assert max(day.files.values()) < 8
            assert day.poll_requests == 1
