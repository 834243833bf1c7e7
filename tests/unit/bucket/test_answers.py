"""A call to the store, and how long its whole answer may take."""

from __future__ import annotations

import threading

import pytest

from lotus_lake.bucket.objects import within


def test_what_comes_in_time_is_returned_or_raised() -> None:
    assert within(60, lambda: None) is None
    assert within(60, lambda: [1]) == [1]
    with pytest.raises(KeyError, match="key"):
        within(60, lambda: {}["key"])


def test_an_answer_that_never_ends_is_given_up() -> None:
    end = threading.Event()
    with pytest.raises(TimeoutError, match="no complete answer within 0 seconds"):
        within(0.1, lambda: end.wait(60))
    end.set()
