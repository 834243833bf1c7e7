"""Cutting the queue into batches."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_lake.feeder.append import cut
from lotus_lake.feeder.batch import Batch
from lotus_lake.ledger.queue import PendingFile
from lotus_lake.quantities import readable_bytes

sizes = st.lists(st.integers(0, 100), max_size=40)


def files(sizes: list[int]) -> list[PendingFile]:
    return [
        PendingFile(
            position, f"part_{position}", "e", size, datetime.now(UTC), date(2026, 3, 1), None, 1
        )
        for position, size in enumerate(sizes)
    ]


@given(sizes, st.integers(1, 8), st.integers(1, 200))
def test_batches_concatenate_to_their_input(
    sizes: list[int], batch_files: int, batch_bytes: int
) -> None:
    queue = files(sizes)
    assert [file for group in cut(queue, batch_files, batch_bytes) for file in group] == queue


@given(sizes, st.integers(1, 8), st.integers(1, 200))
def test_no_batch_is_empty_or_over_a_bound(
    sizes: list[int], batch_files: int, batch_bytes: int
) -> None:
    for group in cut(files(sizes), batch_files, batch_bytes):
        assert 1 <= len(group) <= batch_files
        assert len(group) == 1 or sum(file.size_bytes for file in group) <= batch_bytes


@given(sizes, st.integers(1, 8), st.integers(1, 200))
def test_a_batch_ends_only_where_the_next_file_does_not_fit(
    sizes: list[int], batch_files: int, batch_bytes: int
) -> None:
    groups = list(cut(files(sizes), batch_files, batch_bytes))
    for group, following in itertools.pairwise(groups):
        total = sum(file.size_bytes for file in group)
        assert len(group) == batch_files or total + following[0].size_bytes > batch_bytes


def test_a_file_larger_than_a_batch_goes_alone() -> None:
    groups = cut(files([10, 500, 10, 10]), batch_files=10, batch_bytes=100)
    assert [[file.size_bytes for file in group] for group in groups] == [[10], [500], [10, 10]]


@pytest.mark.parametrize(
    ("batch", "label"),
    [
        (Batch(1, 3, 1, 300, 300, 498_000_000), "batch 1 of 3: 300 files, 498 MB"),
        (Batch(3, 3, 601, 601, 1, 12), "batch 3 of 3: 1 file, 12 B"),
    ],
)
def test_a_label_says_which_batch_how_many_files_and_how_big(batch: Batch, label: str) -> None:
    assert batch.label == label


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (2_500_000_000, "2 GB"),
        (7_300_000_000_000, "7.3 TB"),
    ],
)
def test_sizes_for_people(size_bytes: int, text: str) -> None:
    assert readable_bytes(size_bytes) == text
