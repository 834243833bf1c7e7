"""What commands say."""

from __future__ import annotations

from click.testing import Result


def told(result: Result) -> list[str]:
    """Lines of stderr; without what a command says while it takes long."""
    return [line for line in result.stderr.splitlines() if not line.endswith(" ...")]
