"""`make distributed`: two Celery workers, Redis and Postgres against kills, at the full size.

Prints what happens, then a Markdown table for docs/deployment.md. Ends with 1 when a row or a file
was lost or doubled, or a Dag run failed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.distributed.run import VICTIMS, Size, run


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make distributed ARGS=...")
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=300, help="in which they arrive")
    parser.add_argument("--kills", nargs="*", choices=VICTIMS, metavar="PART",
                        default=["worker-1", "scheduler", "postgres"])  # fmt: skip
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and files there")
    chosen = vars(parser.parse_args())
    keep, started = chosen.pop("keep"), time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="lotus-distributed-") as folder:
        outcome = run(keep or Path(folder), Size(**chosen), tell)
    print(f"\n{outcome.table()}")
    print("".join(f"\n{wrong}" for wrong in outcome.findings.wrongs))
    return int(bool(outcome.findings.wrongs or outcome.runs["failed"]))


if __name__ == "__main__":
    raise SystemExit(main())
