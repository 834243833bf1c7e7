"""Makes the passwords of docker-compose.yml, once. Run by `make up`."""

from __future__ import annotations

import os
import re
import secrets
from base64 import urlsafe_b64encode
from pathlib import Path

FOLDER = Path(__file__).parent


def filled_in(example: str) -> str:
    """The example with a value for each name that has none."""
    return re.sub(r"^(\w+)=$", lambda match: f"{match[0]}{_secret(match[1])}", example, flags=re.M)


def _secret(name: str) -> str:
    if name == "FERNET_KEY":
        return urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(32)  # goes into URLs and SQL as it is


if __name__ == "__main__":
    text = filled_in((FOLDER / "example.env").read_text(encoding="utf-8"))
    # "x": passwords that volumes were made with are never replaced.
    with open(
        FOLDER / ".env",
        "x",
        encoding="utf-8",
        opener=lambda path, flags: os.open(path, flags, 0o600),
    ) as file:
        file.write(text)
    print(f"made {FOLDER / '.env'}, for you alone to read")
