"""Two workers, one of them killed: the small form of `make distributed`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributed.cluster import WORKERS
from tests.distributed.run import Size, run


@pytest.mark.distributed
@pytest.mark.timeout(900)
def test_no_file_is_lost_or_doubled_when_a_worker_is_killed(tmp_path: Path) -> None:
    outcome = run(tmp_path, Size(streams=4, files=120, seconds=40, kills=[WORKERS[0]]))
    assert outcome.findings.wrongs == []
    assert outcome.kills == {WORKERS[0]: 1}
    assert outcome.tries.keys() == set(WORKERS)
    assert outcome.runs.keys() <= {"success", "running"}
