"""`lotus-lake`: the lake from the command line, without Airflow."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import typer

from lotus_lake.cli import (
    add_stream,
    airbyte,
    balance,
    branch,
    contract,
    ctrl_c,
    dictionary,
    diff,
    discover,
    doctor,
    feed,
    initialise,
    landing,
    new_project,
    observe,
    promotion,
    query,
    remove_stream,
    rename_stream,
    repair,
    status,
    ui,
    upgrade,
    upkeep,
    validation,
    version,
    why,
)
from lotus_lake.cli.output import say
from lotus_lake.errors import LotusLakeError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Feeds Airbyte's Parquet files into a DuckLake lakehouse, each file exactly once.

    LAKE_CATALOG, LAKE_DATA_PATH, LAKE_RAW_URI and AWS_* say where the lake and the bucket are.

    Data goes to stdout, everything else to stderr. The exit code is 0 if all is well, 1 if
    something failed or needs a person, and 2 if the arguments are wrong. A command whose codes
    differ says so.""",
)
new_project.add_to(app)
initialise.add_to(app)
landing.add_to(app)
discover.add_to(app)
add_stream.add_to(app)
remove_stream.add_to(app)
rename_stream.add_to(app)
validation.add_to(app)
contract.add_to(app)
dictionary.add_to(app)
status.add_to(app)
observe.add_to(app)
balance.add_to(app)
query.add_to(app)
ui.add_to(app)
diff.add_to(app)
why.add_to(app)
feed.add_to(app)
repair.add_to(app)
upkeep.add_to(app)
branch.add_to(app)
promotion.add_to(app)
upgrade.add_to(app)
airbyte.add_to(app)
doctor.add_to(app)
version.add_to(app)


def main() -> None:
    """Entry point: errors of the library and of the system end in one readable message."""
    ctrl_c.watch()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the locale cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="lotus-lake")
    except LotusLakeError as error:
        say(f"error: {error}")
        raise SystemExit(1) from None
    except OSError as error:
        if error.filename is None:
            raise
        say(f"error: {error.filename}: {error.strerror}")
        say("hint: check that this user may read and write there, and that the disk is not full")
        raise SystemExit(1) from None
