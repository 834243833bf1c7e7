"""`lotus-lake doctor`: check the deployment; the checks are in `lotus_lake.doctor`."""

from __future__ import annotations

import os
from dataclasses import asdict

import typer

from lotus_lake.cli.arguments import OPERATE
from lotus_lake.cli.output import AsJson, say, show
from lotus_lake.doctor import examine
from lotus_lake.quantities import counted


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(rich_help_panel=OPERATE)(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Check the deployment for every known problem, and show how to fix it.

    Checks versions, settings, project files, bucket, catalog, landing tables, the queue and the
    models. Writes only a probe file below LAKE_DATA_PATH, which it deletes again. Exits with 1 if
    there is a problem.

    Example: lotus-lake doctor

    Example: lotus-lake doctor --json | jq '.[] | select(.state == "problem")'
    """
    findings = examine(os.environ)
    rows = [asdict(finding) for finding in findings]
    if not as_json:
        for row in rows:
            del row["hint"]
    show(rows, as_json=as_json)
    problems = [finding for finding in findings if finding.state == "problem"]
    for finding in problems:
        say(f"problem: {finding.check}: {finding.text}\nhint: {finding.hint}")
    say(f"{counted(len(findings), 'check')}, {counted(len(problems), 'problem')}")
    if problems:
        raise typer.Exit(1)
