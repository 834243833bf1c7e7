"""Copy an example env file and fill in a random value for each empty variable.

    python3 deploy/make_secrets.py deploy/compose/example.env deploy/compose/.env

An existing file is never replaced: databases were created with its passwords.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from base64 import urlsafe_b64encode
from pathlib import Path


def filled_in(example: str) -> str:
    """The example with a value for each empty variable."""
    return re.sub(
        r"^([\w-]+)=$", lambda match: match[0] + _secret(match[1]), example, flags=re.MULTILINE
    )


def write(example: Path, target: Path) -> None:
    """Write the filled-in example, readable by its owner only.

    Raises:
        FileExistsError: The target exists.
    """
    text = filled_in(example.read_text(encoding="utf-8"))
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _secret(name: str) -> str:
    if "fernet" in name.lower():
        return urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(32)  # goes into URLs and SQL as it is


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: make_secrets.py EXAMPLE TARGET")
    try:
        write(Path(sys.argv[1]), Path(sys.argv[2]))
    except FileExistsError:
        raise SystemExit(f"error: {sys.argv[2]} is there\nhint: edit it, or move it") from None
    print(f"wrote {sys.argv[2]}, for you alone to read")
