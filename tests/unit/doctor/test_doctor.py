"""What the doctor reads out of texts of the machine, the store and Postgres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lotus_lake.doctor.catalog import is_english
from lotus_lake.doctor.findings import Result, ok, run, some_of
from lotus_lake.doctor.machine import file_system_of, size_in_bytes
from lotus_lake.doctor.store import days_to_read
from lotus_lake.errors import SettingsError

MOUNTS = """\
/dev/vda1 / ext4 rw 0 0
server:/export /mnt/shared nfs4 rw 0 0
/dev/vdb /mnt/shared/local\\040disk xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("2GiB", 2 * 1024**3), ("500MB", 500_000_000), ("1.5 KB", 1500), ("1tib", 1024**4)],
)
def test_a_size_is_read_as_duckdb_reads_it(text: str, size_bytes: int) -> None:
    assert size_in_bytes(text) == size_bytes


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lake/catalog.sqlite", "ext4"),
        ("/mnt/shared/catalog.sqlite", "nfs4"),
        ("/mnt/shared/local disk/catalog.sqlite", "xfs"),
        ("/mnt/shared2/catalog.sqlite", "ext4"),
    ],
)
def test_a_file_lies_on_the_innermost_mount(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("language", ["C", "POSIX", "en_US.UTF-8", "C.UTF-8", "English_World", ""])
def test_english_is_english(language: str) -> None:
    assert is_english(language)


@pytest.mark.parametrize("language", ["de_DE.UTF-8", "es", "Czech_Republic", "cs_CZ"])
def test_other_languages_are_not(language: str) -> None:
    assert not is_english(language)


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        ({"Prefix": "raw/", "Expiration": {"Days": 3}}, 3),
        ({"Filter": {"Prefix": ""}, "Expiration": {"Days": 3}}, 3),
        ({"Filter": {"And": {"Prefix": "raw/shop/", "Tags": []}}, "Expiration": {"Days": 3}}, 3),
        ({"Filter": {}, "Expiration": {"Date": "2026-03-01"}}, 0),
        ({"Prefix": "", "Transitions": [{"Days": 1, "StorageClass": "DEEP_ARCHIVE"}]}, 1),
        (
            {
                "Expiration": {"Days": 90},
                "Transitions": [
                    {"Days": 1, "StorageClass": "STANDARD_IA"},
                    {"Days": 30, "StorageClass": "GLACIER"},
                ],
            },
            30,
        ),
        ({"Prefix": "", "Transitions": [{"Days": 1, "StorageClass": "GLACIER_IR"}]}, None),
        ({"Filter": {"Prefix": "lake/"}, "Expiration": {"Days": 3}}, None),
        (
            {"Filter": {"Prefix": "raw/"}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1}},
            None,
        ),
        ({"Filter": {"Prefix": "raw/"}, "Expiration": {"Days": 3}, "Status": "Disabled"}, None),
    ],
)
def test_a_lifecycle_rule_concerns_the_raw_prefix(rule: dict[str, Any], days: int | None) -> None:
    assert days_to_read({"Status": "Enabled", **rule}, "raw/") == days


def test_a_check_that_fails_stops_no_other() -> None:
    def that_is_wrong(_: None) -> Result:
        raise SettingsError("this is wrong", hint="do that")

    def that_breaks(_: None) -> Result:
        raise ZeroDivisionError("by accident")

    def that_is_fine(_: None) -> Result:
        return ok("fine")

    wrong, broken, fine = run((that_is_wrong, that_breaks, that_is_fine), None)
    assert (wrong.check, wrong.text, wrong.hint) == ("that is wrong", "this is wrong", "do that")
    assert (broken.state, fine.state) == ("problem", "ok")
    assert "ZeroDivisionError: by accident" in broken.text


def test_many_names_are_cut() -> None:
    assert some_of("ab") == "a, b"
    assert some_of("abcde") == "a, b, c and 2 more"
