"""Checks inside the lake: landing tables, deletion list, missing objects, quarantine, orphans."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lotus_lake.config.streams import Stream
from lotus_lake.doctor.findings import Result, ok, problem, skipped, some_of
from lotus_lake.lake.data_files import scheduled_below
from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.lake.tables import partitioned_tables
from lotus_lake.ledger.registrations import registered_but_missing
from lotus_lake.ledger.schema import was_fed
from lotus_lake.quantities import counted, readable_bytes
from lotus_lake.repair.initialise import initialise
from lotus_lake.repair.quarantine import list_quarantined
from lotus_lake.upkeep.orphans import find_orphans

# A file that a transaction has written and not yet committed is no orphan.
ORPHAN_AGE = timedelta(days=1)

_NOTHING_FED = "nothing has been fed yet"


@dataclass(frozen=True, slots=True)
class View:
    """The open lake, and the streams that are configured."""

    lake: Lake
    streams: tuple[Stream, ...]

    @property
    def landing_tables(self) -> set[str]:
        """Landing tables that are there."""
        names = {stream.landing_table for stream in self.streams}
        return names & self.lake.tables("staging")


def lake_has_what_init_creates(view: View) -> Result:
    """Ledger, landing tables, their options and indexes are as `lotus-lake init` leaves them.

    A stream without a landing table has not been fed yet: its first run creates all it needs.
    """
    fed = [stream for stream in view.streams if stream.landing_table in view.landing_tables]
    lacking, mismatches = initialise(view.lake, fed, check=True)
    if mismatches:
        return problem(str(mismatches[0]).partition("\nhint: ")[0], hint=str(mismatches[0].hint))
    if lacking:
        return problem(f"the lake lacks {some_of(lacking)}", hint="`lotus-lake init` creates it")
    return ok(counted(len(fed), "landing table"))


def landing_tables_are_not_partitioned(view: View) -> Result:
    """Registered files do not have to fit partitions."""
    partitioned = partitioned_tables(view.lake, view.landing_tables)
    if partitioned:
        statements = "; ".join(
            f"ALTER TABLE {LAKE}.staging.{name} RESET PARTITIONED BY" for name in partitioned
        )
        return problem(
            f"{some_of(partitioned)} are partitioned: files are filed under wrong values",
            hint=f'lotus-lake query --write "{statements}"',
        )
    return ok(f"{len(view.landing_tables)} landing tables")


def nothing_is_deleted_that_was_not_retired(view: View) -> Result:
    """DuckLake's list of deletions holds retired raw objects only."""
    settings = view.lake.settings
    root = settings.uri("")
    listed = scheduled_below(view.lake, settings.uri(settings.raw_prefix))
    retired = {
        root + key
        for (key,) in (
            view.lake.rows(
                f"SELECT key FROM {META}.file_events WHERE key IN (SELECT unnest(?::VARCHAR[])) "
                "GROUP BY key HAVING arg_max(event, (recorded_at, version)) = 'retired'",
                [[uri.removeprefix(root) for uri in listed]],
            )
            if was_fed(view.lake)
            else ()
        )
    }
    wrong = [uri for uri in listed if uri not in retired]
    if wrong:
        return problem(
            f"{len(wrong)} raw objects are on the deletion list without being retired: "
            f"{some_of(wrong)}",
            hint="`lotus-lake maintain` takes them off the list before it deletes, then "
            "`lotus-lake reconcile` lands them; do not run DuckLake's clean-up by hand",
        )
    return ok(f"{len(listed)} retired objects wait to be deleted")


def registered_files_are_there(view: View) -> Result:
    """No landing table reads from an object that the last reconciliation missed."""
    if not was_fed(view.lake):
        return skipped(_NOTHING_FED)
    affected = {
        tuple(row)
        for row in view.lake.rows(
            f"SELECT DISTINCT source, stream FROM {META}.feeder_files WHERE event = 'missing'"
        )
    }
    gone = [
        (stream, file.key)
        for stream in view.streams
        if (stream.source, stream.name) in affected and stream.landing_table in view.landing_tables
        for file in registered_but_missing(view.lake, stream)[0]
    ]
    if gone:
        commands = {
            f"lotus-lake reconcile {s.source} {s.name} {'--empty' if s.overwrites else '--repair'}"
            for s, _ in gone
        }
        return problem(
            f"{len(gone)} landed objects are gone from the bucket, and queries that read those "
            f"that were not copied fail: {some_of(key for _, key in gone)}",
            hint=f"restore the objects, or remove their rows: {'; '.join(sorted(commands))}",
        )
    return ok("no object is known to be missing; `lotus-lake reconcile` checks")


def nothing_is_in_quarantine(view: View) -> Result:
    """Every file could land."""
    found = list_quarantined(view.lake, None, None)
    if found:
        first = found[0]
        return problem(
            f"{len(found)} files are in quarantine, such as {first.key}: {first.error}",
            hint="`lotus-lake quarantine list` shows why; then `quarantine retry` "
            "or `quarantine drop`",
        )
    return ok("no file is in quarantine")


def every_data_file_is_referred_to(view: View) -> Result:
    """No file below the data path is left over from a process that died."""
    found = find_orphans(view.lake, datetime.now(UTC) - ORPHAN_AGE)
    if found.files:
        return problem(
            f"{len(found.files)} files below {view.lake.settings.data_path} are orphans "
            f"({readable_bytes(found.files_bytes)}): a process died while writing them",
            hint="`lotus-lake maintain` puts those that are old enough on the deletion list",
        )
    return ok(f"{found.listed} files are referred to")


CHECKS = (
    lake_has_what_init_creates,
    landing_tables_are_not_partitioned,
    nothing_is_deleted_that_was_not_retired,
    registered_files_are_there,
    nothing_is_in_quarantine,
    every_data_file_is_referred_to,
)
