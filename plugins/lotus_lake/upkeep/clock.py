"""Whether this machine's clock may decide what is old.

Upkeep expires and deletes by age. A clock that is days ahead would expire snapshots that readers
and open transactions still need, and delete files before their time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lotus_lake.bucket.objects import s3_client, store_time
from lotus_lake.errors import UpkeepRefusedError
from lotus_lake.lake.database import database_time
from lotus_lake.lake.session import Lake

MAX_SKEW = timedelta(hours=1)


def check_clock(lake: Lake) -> None:
    """Compare the clock with those of the store and of the catalog's database.

    Raises:
        UpkeepRefusedError: They differ by more than an hour.
        StorageUnavailableError: The store does not answer.
    """
    settings = lake.settings
    others = {
        "the store": store_time(s3_client(settings.s3), settings.bucket, settings.raw_prefix),
        "the catalog's database": database_time(lake),
    }
    now = datetime.now(UTC)
    for name, at in others.items():
        if at is not None and abs(now - at) > MAX_SKEW:
            raise UpkeepRefusedError(
                f"the clock of this machine says {now:%Y-%m-%d %H:%M} UTC, {name} says "
                f"{at.astimezone(UTC):%Y-%m-%d %H:%M}: the age of files cannot be judged",
                hint="synchronise the clocks (chrony, systemd-timesyncd), then run it again",
            )
