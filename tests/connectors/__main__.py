"""`make connectors`: every stream of real connectors, from its schema to rows of its table.

Takes the schemas from the connectors' packages, which are downloaded into a cache and never kept
here, makes a project and a lake for each connector, and writes docs/connectors.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.settings import Settings
from lotus_lake.scaffold.new_project import make_project
from tests.connectors.catalog import discover
from tests.connectors.journey import STEPS, Journey
from tests.connectors.wheels import cache_dir, download, unpack, version_of
from tests.servers import S3Server, run_s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "connectors.md"
CONNECTORS = (
    "amplitude", "asana", "faker", "github", "google-ads", "hubspot", "intercom", "jira",
    "klaviyo", "mailchimp", "shopify", "square", "stripe", "zendesk-support",
)  # fmt: skip
WANTED = 98


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the streams of a connector.

    Attributes:
        connector: Its name.
        version: Of its package.
        total: Number of streams with a schema.
        reached: How many passed each step.
        failures: Streams that failed, with the step and the reason.
        chosen: Streams for which a person has to choose, with the option.
        copied: Streams whose files land as copies.
        without_schema: Streams whose schema only an account tells.
    """

    connector: str
    version: str
    total: int
    reached: dict[str, int]
    failures: dict[str, tuple[str, str]]
    chosen: dict[str, str]
    copied: tuple[str, ...]
    without_schema: tuple[str, ...]


def main(names: list[str]) -> int:
    """Go through the connectors; write the page if that were all of them."""
    outcomes = []
    with run_s3() as s3, tempfile.TemporaryDirectory(prefix="lotus-connectors-") as folder:
        client = s3_client(s3.access)
        for name in names or CONNECTORS:
            outcome = run(name, Path(folder, name), s3, client)
            outcomes.append(outcome)
            print(f"{name} {outcome.version}: {outcome.reached['compare']} of {outcome.total}")
            for stream, (step, reason) in outcome.failures.items():
                print(f"  {stream}: {step}: {reason}")
    if not names:
        PAGE.write_text(page(outcomes), encoding="utf-8")
    total, right = (sum(found) for found in zip(*map(_right, outcomes), strict=True))
    print(f"{right} of {total} streams")
    return 0 if right >= total * WANTED / 100 else 1


def run(connector: str, folder: Path, s3: S3Server, client: S3Client) -> Outcome:
    """All streams of a connector, in a project and a lake below a folder."""
    wheel = download(connector, cache_dir())
    found = discover(unpack(wheel, folder / "package"))
    project = folder / "project"
    make_project(Settings.from_env({"LAKE_PROJECT_DIR": str(PROJECT)}), project)
    client.create_bucket(Bucket=connector)
    environment = {
        "LAKE_PROJECT_DIR": str(project),
        "LAKE_CATALOG": f"sqlite:{folder / 'catalog.sqlite'}",
        "LAKE_DATA_PATH": str(folder / "data"),
        "LAKE_RAW_URI": f"s3://{connector}/raw",
        "LAKE_THREADS": "1",
        **s3.environment(),
    }
    source = connector.replace("-", "_")
    settings = Settings.from_env(environment)
    journey = Journey(settings, environment, client, source, found.catalog)
    journey.go()
    return _outcome(connector, version_of(wheel), journey, tuple(found.without_schema))


def _outcome(
    connector: str, version: str, journey: Journey, without_schema: tuple[str, ...]
) -> Outcome:
    total = len(journey.catalog["streams"])
    stopped = Counter(step for step, _ in journey.failures.values())
    reached, left = {}, total
    for step in STEPS:
        left -= stopped[step]
        reached[step] = left
    return Outcome(
        connector, version, total, reached, journey.failures, journey.chosen,
        tuple(sorted(journey.copied)), without_schema,
    )  # fmt: skip


def _right(outcome: Outcome) -> tuple[int, int]:
    return outcome.total, outcome.reached["compare"]


def page(outcomes: list[Outcome]) -> str:
    """The text of docs/connectors.md."""
    return "\n".join([*_head(outcomes), *_table(outcomes), *_lacking(outcomes)]) + "\n"


def _head(outcomes: list[Outcome]) -> Iterator[str]:
    total, right = (sum(found) for found in zip(*map(_right, outcomes), strict=True))
    yield from (
        "# Connectors",
        "",
        f"{right} of {total} streams of {len(outcomes)} Airbyte connectors go from the schema in "
        "their package to a checked",
        f"table. `make connectors` wrote this page on {datetime.now(UTC):%-d %B %Y}.",
        "",
        *_HOW,
        "",
    )


_HOW = """\
For each stream it takes the schema as the connector's `discover` reports it, then, with an empty
project and lake:

1. **discover** keeps the source schema, **add-stream** writes config, DDL and model, **validate**
   and `dbt parse` find nothing.
2. **feed**: files of generated records, with every type of the schema, nulls, other scripts and
   quotes, are written as Airbyte's S3 destination writes them, and land.
3. **build**: dbt builds the model and tests its key; a second file brings newer and older versions,
   repeats and new records, and dbt merges them.
4. **compare**: every column of every record is as an independent computation has it, by the newest
   version of each key.

A column of the table counts the streams that have passed that step.""".splitlines()


def _table(outcomes: list[Outcome]) -> Iterator[str]:
    yield f"| connector | version | streams | {' | '.join(STEPS)} |"
    yield f"|---|---|{'---:|' * (len(STEPS) + 1)}"
    for outcome in outcomes:
        counts = " | ".join(str(outcome.reached[step]) for step in STEPS)
        yield f"| {outcome.connector} | {outcome.version} | {outcome.total} | {counts} |"
    sums = " | ".join(str(sum(o.reached[step] for o in outcomes)) for step in STEPS)
    yield f"| **all** | | **{sum(o.total for o in outcomes)}** | {sums} |"


def _lacking(outcomes: list[Outcome]) -> Iterator[str]:
    failed = [(o.connector, *item) for o in outcomes for item in o.failures.items()]
    if failed:
        yield from ("", "## What fails", "", "| stream | step | reason |", "|---|---|---|")
        for connector, stream, (step, reason) in failed:
            text = " ".join(reason.split()).replace("|", "\\|")[:300]
            yield f"| {connector} {stream} | {step} | {text} |"
    yield from ("", "## What a person has to choose", "", *_CHOICES)
    for outcome in outcomes:
        for stream, option in outcome.chosen.items():
            yield f"* {outcome.connector} {stream}: `{option}`"
    yield from ("", "## What lands as a copy", "", *_COPIES)
    for outcome in outcomes:
        if outcome.copied:
            yield f"* {outcome.connector}: {', '.join(outcome.copied)}"
    yield from ("", "## What only an account tells", "", *_ACCOUNT)
    for outcome in outcomes:
        if outcome.without_schema:
            yield f"* {outcome.connector}: {', '.join(outcome.without_schema)}"
    if not any(outcome.without_schema for outcome in outcomes):
        yield "* none of these connectors' streams"


_CHOICES = ["Some streams define no primary key. The run above chose one:", ""]
_COPIES = [
    "Files with a field named as a partition column (`year`, `month`, `day`), at any depth, or as",
    "a column of DuckLake land as copies, in which it has another name:",
    "",
]
_ACCOUNT = [
    "Streams whose schema is read from an account, such as custom objects, have none in the",
    "package, and are not counted. Where an account adds fields to a schema, as in HubSpot, the",
    "fields of the package were fed. Without any schema:",
    "",
]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
