"""`make walkthrough`: what a new user types, from a connector's output on, and what is printed.

It uses this checkout's environment, but its own files: a copy of the project, a bucket on the
embedded S3 server, and the tests' Airbyte server. The commands and their output become
docs/walkthrough.md. It stops at the first command that does not end as expected.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from lotus_lake.bucket.objects import s3_client
from lotus_lake.config.connections import S3Access
from samples import embedded_s3
from tests.airbyte_server import attempt, run_airbyte

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "walkthrough.md"
BUCKET, PREFIX = "landing", "raw/crm/deals"
DAY = datetime(2026, 11, 20, tzinfo=UTC)
COPIED = ("dags", "include", "plugins", "samples", "pyproject.toml")
CATALOG: dict[str, Any] = {
    "streams": [
        {
            "name": "deals",
            "json_schema": {
                "type": "object",
                "properties": {
                    "id": {"type": "integer", "description": "Number of the deal"},
                    "title": {"type": ["null", "string"]},
                    "amount": {"type": ["null", "number"], "description": "In euros"},
                    "owner": {
                        "type": ["null", "object"],
                        "properties": {
                            "id": {"type": ["null", "integer"]},
                            "name": {"type": ["null", "string"]},
                        },
                    },
                    "tags": {
                        "type": ["null", "array"],
                        "items": {"type": ["null", "string"]},
                    },
                    "updated_at": {"type": ["null", "string"], "format": "date-time"},
                },
            },
            "supported_sync_modes": ["full_refresh", "incremental"],
            "source_defined_cursor": True,
            "default_cursor_field": ["updated_at"],
            "source_defined_primary_key": [["id"]],
        }
    ]
}
SHAPE = pa.schema(
    [
        pa.field("_airbyte_raw_id", pa.string(), nullable=False),
        pa.field("_airbyte_extracted_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field(
            "_airbyte_meta",
            pa.struct(
                [
                    pa.field("sync_id", pa.int64(), nullable=False),
                    pa.field(
                        "changes",
                        pa.list_(
                            pa.struct(
                                [
                                    pa.field("field", pa.string()),
                                    pa.field("change", pa.string()),
                                    pa.field("reason", pa.string()),
                                ]
                            )
                        ),
                        nullable=False,
                    ),
                ]
            ),
            nullable=False,
        ),
        pa.field("_airbyte_generation_id", pa.int64()),
        pa.field("id", pa.int64()),
        pa.field("title", pa.string()),
        pa.field("amount", pa.float64()),
        pa.field("owner", pa.struct([pa.field("id", pa.int64()), pa.field("name", pa.string())])),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("updated_at", pa.timestamp("ms", tz="UTC")),
    ]
)
Deal = tuple[int, str, float, str]


class Walk:
    """A user at a prompt; keeps what is typed and printed."""

    def __init__(self, project: Path, env: dict[str, str]) -> None:
        self.project, self.env, self.text = project, env, ""

    def say(self, text: str) -> None:
        """A paragraph of the page."""
        self.text += f"\n{text}\n"

    def type(self, command: str, code: int = 0, answer: str | None = None) -> str:
        """Run a line of shell, and add its output to the page, without paths of this machine."""
        print(f"$ {command}", flush=True)
        done = subprocess.run(
            ["/bin/bash", "-c", command], cwd=self.project, env=self.env, text=True, input=answer,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        print(done.stdout, flush=True)
        if done.returncode != code:
            sys.exit(f"{command}: ended with {done.returncode}, not {code}")
        shown = _without_colours(done.stdout).replace(str(self.project), "/home/you/lake")
        lines = [line.rstrip() for line in shown.splitlines() if line.strip()]
        self.text += "\n```console\n$ " + command + "\n" + "\n".join(lines) + "\n```\n"
        return done.stdout


@contextmanager
def a_new_checkout() -> Iterator[tuple[Walk, S3Client]]:
    """A user at a prompt in a copy of the project, with an empty bucket of its own."""
    with tempfile.TemporaryDirectory(prefix="lotus-walk-") as folder:
        project = Path(folder) / "lake"
        for name in COPIED:
            source, target = PROJECT / name, project / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            target.parent.mkdir(exist_ok=True)
            copy(source, target)
        shutil.rmtree(project / "include" / "dbt" / "target", ignore_errors=True)
        access_file = project / ".lake" / "s3.json"
        base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        env = base | embedded_s3.start(project / ".lake" / "s3", access_file)
        env |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
            "PYTHONPATH": "plugins:.",
            "LAKE_PROJECT_DIR": str(project),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "COLUMNS": "120",
        }
        try:
            client = s3_client(S3Access.from_env(env))
            client.create_bucket(Bucket=BUCKET)
            yield Walk(project, env), client
        finally:
            embedded_s3.stop(access_file)


def main() -> None:
    """Run the walk and write the page."""
    with a_new_checkout() as (walk, client):
        _walk(walk, client)
    PAGE.write_text(_INTRODUCTION + walk.text, encoding="utf-8")
    print(f"wrote {PAGE}")


def _walk(walk: Walk, client: S3Client) -> None:
    walk.say("## From a connector's output to rows")
    walk.say(
        "The output of a CRM connector's `discover` is in `crm.jsonl`: log lines, and the catalog "
        "of its\nstreams."
    )
    messages = [
        {"type": "LOG", "log": {"level": "INFO", "message": "Starting discovery"}},
        {"type": "CATALOG", "catalog": CATALOG},
    ]
    (walk.project / "crm.jsonl").write_text("\n".join(json.dumps(item) for item in messages))
    walk.type("lotus-lake discover crm crm.jsonl")
    walk.type("lotus-lake add-stream crm deals --money amount")
    walk.type("lotus-lake validate")
    walk.type("lotus-lake airbyte-catalog")
    walk.type("cat include/dbt/models/processed/crm/int_crm__deals.sql")
    walk.say("The first sync from Airbyte writes two files:")
    first: list[Deal] = [(1, "Mill", 1200.5, "Ann"), (2, "Bridge", 80000.0, "Bob")]
    second: list[Deal] = [(1, "Mill, again", 1300.25, "Ann"), (3, "Tower", 15.0, "Cem")]
    _put(client, "41_part_0.parquet", _parquet(first, 41, DAY.replace(hour=8)))
    _put(client, "41_part_1.parquet", _parquet(second, 41, DAY.replace(hour=9)))
    walk.type("lotus-lake plan crm deals")
    walk.type("lotus-lake feed crm deals")
    walk.type(
        "(cd include/dbt && dbt build --quiet --select tag:crm__deals) && echo built and tested"
    )
    walk.type(
        'lotus-lake query "SELECT deal_id, title, amount, owner_name FROM main.int_crm__deals '
        'ORDER BY 1"'
    )

    walk.say("## A broken file: found, replaced, landed")
    walk.say("The next sync writes two files, and one of them is cut off in the middle.")
    moment = DAY.replace(hour=10)
    whole = _parquet([(4, "Gate", 7.5, "Ann")], 42, moment)
    _put(client, "42_part_0.parquet", whole[: len(whole) // 2])
    _put(client, "42_part_1.parquet", _parquet([(5, "Wall", 99.0, "Bob")], 42, moment))
    walk.type("lotus-lake feed crm deals")
    walk.type("lotus-lake quarantine list crm deals")
    walk.say("Somebody replaces it with the complete file. This is a new version, so it lands:")
    _put(client, "42_part_0.parquet", whole)
    walk.type("lotus-lake feed crm deals")
    walk.type("lotus-lake files crm deals --key year=2026/month=11/day=20/42_")
    walk.type("lotus-lake quarantine list crm deals")

    walk.say("## A rewind, as a dry run")
    walk.type("lotus-lake rewind crm deals --to-date 2026-11-20 --dry-run")
    walk.type('lotus-lake files crm deals --where "id = 1"')

    walk.say("## A backfill")
    walk.say(
        "Ask Airbyte to send everything once more. (Here, a local server stands in for Airbyte: it "
        "writes\nthe file of its job while the command waits, and a feeder lands it.)"
    )
    with run_airbyte() as airbyte:
        walk.env |= airbyte.environment()
        airbyte.add_connection("crm", ["deals"])

        def work(job: dict[str, Any]) -> None:
            now = datetime.now(UTC)
            again = [*second, (2, "Bridge", 80000.0, "Bob"), (4, "Gate", 7.5, "Ann")]
            body = _parquet(again, job["id"], now)
            _put(client, f"{job['id']}_part_0.parquet", body, day=now)
            job["attempts"] = [attempt(deals=len(again))]
            job["statuses"] = ["running", "running", "succeeded"]
            threading.Timer(3, _feed, [walk]).start()

        airbyte.on_job = work
        said = walk.type("lotus-lake backfill crm deals --wait --poll 1", answer="y\n")
        job_id = re.findall(r"job (\d+)", said)[0]
        walk.type(f"lotus-lake job {job_id}")
    walk.say("Records that came again change nothing in the processed table; new ones are added:")
    walk.type(
        "(cd include/dbt && dbt build --quiet --select tag:crm__deals) && echo built and tested"
    )
    walk.type(
        'lotus-lake query "SELECT deal_id, title, amount, owner_name FROM main.int_crm__deals '
        'ORDER BY 1"'
    )
    walk.type("lotus-lake status")


def _feed(walk: Walk) -> None:
    """Land files as the stream's Dag would."""
    subprocess.run(
        ["lotus-lake", "feed", "crm", "deals"], cwd=walk.project, env=walk.env, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _put(client: S3Client, name: str, body: bytes, day: datetime = DAY) -> None:
    key = f"{PREFIX}/{day:year=%Y/month=%m/day=%d}/{name}"
    client.put_object(Bucket=BUCKET, Key=key, Body=body)


def _parquet(deals: list[Deal], sync_id: int, moment: datetime) -> bytes:
    """A file as Airbyte writes it."""
    rows = [
        {
            "_airbyte_raw_id": str(uuid4()),
            "_airbyte_extracted_at": moment,
            "_airbyte_meta": {"sync_id": sync_id, "changes": []},
            "_airbyte_generation_id": 0,
            "id": number,
            "title": title,
            "amount": amount,
            "owner": {"id": len(name), "name": name},
            "tags": ["new"],
            "updated_at": min(moment, DAY.replace(hour=10)),
        }
        for number, title, amount, name in deals
    ]
    buffer = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SHAPE), buffer)
    return buffer.getvalue()


def _without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


_INTRODUCTION = """\
# A walk through a stream's life

What a new user types, and what is printed: from a connector's output to rows in a table, a broken
file, a rewind, and a backfill. `make walkthrough` runs all of it and writes this page.
"""

if __name__ == "__main__":
    main()
