"""What S3 asks for looking at one stream every five minutes for a month, with nothing new.

Request counts are those that `discovery` has measured; the price is multiplied in. Reading what
arrives comes on top: per file one HEAD and one GET for the footer, the bytes of the file once with
`validation: full`, and one read by dbt.

Prices are of S3 Standard in us-east-1: 0.005 dollars for 1,000 LIST, 0.0004 for 1,000 GET or HEAD,
nothing for DELETE and for traffic within the region (https://aws.amazon.com/s3/pricing/, amounts as
given on https://c3x.dev/blog/s3-request-fees-explained, an undated copy read on 24 November 2026).
The services of [the comparison](../docs/guarantees.md#what-it-costs-and-what-is-claimed) that go by
events pay nothing for looking, and for a queue or a service instead; those that list everything pay
as the rows *no cursor* and *naive* do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.results import Report

TITLE = "Cost"
LIST_PRICE, READ_PRICE = 0.005 / 1000, 0.0004 / 1000
LOOKS_A_MONTH = 30 * 24 * 12
# Bytes of a page of 1,000 keys, which cost nothing inside a region.
_PAGE_BYTES = 300_000


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Compute; see the module's text."""
    del folder, quick
    source = report.file.with_name("discovery.json")
    if not source.exists():
        raise FileNotFoundError(f"{source}: hint: run the benchmark `discovery` first")
    tables = {table["title"]: table["rows"] for table in json.loads(source.read_text())["tables"]}
    months: dict[tuple[Any, Any], float] = {}
    for how, objects, listings, others, *_ in tables["A look that finds nothing new"]:
        month = LOOKS_A_MONTH * (listings * LIST_PRICE + others * READ_PRICE)
        months[how, objects] = month
        report.row(
            "A stream-month of looks, every 5 minutes",
            how=how,
            objects=objects,
            requests=LOOKS_A_MONTH * (listings + others),
            GB_listed=round(LOOKS_A_MONTH * listings * _PAGE_BYTES / 1e9, 1),
            dollars=round(month, 2),
        )
    most = max(objects for _, objects in months)
    ours = months["Lotus Lake: trigger", most]
    report.target(
        f"a stream-month at {most:,} objects",
        f"{ours:.2f} dollars; original {months['original: cursor of today', most]:.2f} "
        f"({months['original: no cursor', most]:.2f} without a cursor, as the naive way)",
        None,
    )
