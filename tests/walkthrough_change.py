"""`make walkthrough`, second part: a change of a model, from a branch to a rollback.

The commands and their output become the end of docs/changing-models.md. It stops at the first
command that does not end as expected, and if the lake changes before the promotion.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from samples import generate, write_files
from tests.walkthrough import PROJECT, Walk, a_new_checkout

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PAGE = PROJECT / "docs" / "changing-models.md"
HEADING = "## A change, from branch to rollback"
STREAMS = ("orders", "order_refunds")
FILES = "(cd .lake/data && find . -type f | sort | xargs sha256sum | sha256sum)"
TOTAL = 'lotus-lake query "SELECT count(*) AS orders, sum(total_sales) AS sales FROM fct_sales"'


def main() -> None:
    """Run the walk and write the section."""
    with a_new_checkout() as (walk, client):
        _prepare(walk, client)
        _walk(walk)
    text = PAGE.read_text(encoding="utf-8").partition(HEADING)[0].rstrip()
    PAGE.write_text(f"{text}\n\n{HEADING}\n{walk.text}", encoding="utf-8")
    print(f"wrote {PAGE}")


def _prepare(walk: Walk, client: S3Client) -> None:
    """A lake with the demo's orders and refunds, and their models."""
    files = [f for f in generate().files if f.source == "shopify" and f.stream in STREAMS]
    assert write_files(files, "s3://landing/raw", client) == len(files) > 0
    models = "int_shopify__orders int_shopify__order_refunds fct_sales"
    for command in (
        *(f"lotus-lake feed shopify {stream}" for stream in STREAMS),
        f"cd include/dbt && dbt run --quiet --select {models}",
    ):
        subprocess.run(["/bin/bash", "-c", command], cwd=walk.project, env=walk.env, check=True)


def _walk(walk: Walk) -> None:
    walk.say(
        "`make walkthrough` runs these commands on the demo's orders and refunds, and writes this "
        "section."
    )
    before = walk.type(TOTAL)
    files = walk.type(FILES)
    walk.say("Sales are to be counted before discounts. Make a branch, and change the model:")
    walk.type("lotus-lake branch new_sales")
    walk.type(
        "sed -i 's/coalesce(orders.discounts, 0) as/0::decimal(18, 4) as/' "
        "include/dbt/models/enriched/sales/fct_sales.sql"
    )
    walk.type(
        "(cd include/dbt && LAKE_BRANCH=new_sales dbt build --quiet --select fct_sales "
        "--exclude-resource-type unit_test) && echo built and tested"
    )
    walk.say("What differs, in a terminal and as the comment of a pull request:")
    walk.type("lotus-lake diff main new_sales --table fct_sales")
    walk.type("lotus-lake diff main new_sales --table fct_sales --markdown")
    walk.say("The files of the lake are byte for byte what they were, and so are the figures:")
    _expect(walk.type(FILES) == files)
    _expect(walk.type(TOTAL) == before)
    walk.say("Promote the table, once the changed code is deployed:")
    walk.type("lotus-lake promote new_sales --dry-run")
    walk.type("lotus-lake promote new_sales --yes")
    _expect(walk.type(TOTAL) != before)
    walk.say("It was a mistake: go back, then take the code back as well.")
    walk.type("lotus-lake rollback --yes")
    _expect(walk.type(TOTAL) == before)
    walk.type(
        'lotus-lake query "SELECT model, event, branch, from_snapshot_id, snapshot_id_before, '
        'rows_before, rows_after FROM meta.model_events ORDER BY recorded_at"'
    )
    walk.type("lotus-lake branch new_sales --drop --yes")


def _expect(is_so: bool) -> None:
    if not is_so:
        sys.exit("the lake is not what it should be here")


if __name__ == "__main__":
    main()
