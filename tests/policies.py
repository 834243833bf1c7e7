"""S3 policies of `deploy/policies`, enforced by a proxy in front of a server that knows none."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

POLICIES = Path(__file__).resolve().parents[1] / "deploy" / "policies"
_KEY = re.compile(rb"<Key>(.*?)</Key>")


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, for another bucket than the one it names.

    Attributes:
        statements: What it allows; it denies nothing.
        used: How often each of its actions was allowed.
        denied: The actions that it did not allow, each with its resource.
    """

    statements: list[dict[str, Any]]
    used: Counter[str] = field(default_factory=Counter)
    denied: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def load(cls, name: str, bucket: str) -> Policy:
        """Read a policy, with the bucket that a deployment puts in."""
        text = (POLICIES / name).read_text().replace(":landing", f":{bucket}")
        statements = json.loads(text)["Statement"]
        assert all(statement["Effect"] == "Allow" for statement in statements)
        return cls(statements)

    @property
    def actions(self) -> set[str]:
        """All actions that it names."""
        return {action for statement in self.statements for action in statement["Action"]}

    def allows(self, method: str, target: str, body: bytes) -> bool:
        """Whether a request may pass; whoever signed it is not looked at."""
        wanted = list(_wanted(method, target, body))
        refused = [wish[:2] for wish in wanted if not self._has(*wish)]
        self.denied.extend(refused)
        if not refused:
            self.used.update(action for action, _, _ in wanted)
        return bool(wanted) and not refused

    def _has(self, action: str, resource: str, prefix: str) -> bool:
        return any(
            action in statement["Action"]
            and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
            and _meets(statement.get("Condition"), prefix)
            for statement in self.statements
        )


def _meets(condition: dict[str, dict[str, list[str]]] | None, prefix: str) -> bool:
    if condition is None:
        return True
    assert list(condition) == ["StringLike"]
    assert list(condition["StringLike"]) == ["s3:prefix"]
    return any(fnmatchcase(prefix, pattern) for pattern in condition["StringLike"]["s3:prefix"])


def _wanted(method: str, target: str, body: bytes) -> Iterator[tuple[str, str, str]]:
    """The actions of a request, each with its resource and the prefix that it lists."""
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    bucket, _, key = unquote(url.path).lstrip("/").partition("/")
    resource = f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"
    if method == "POST" and "delete" in query:
        for found in _KEY.findall(body):
            yield "s3:DeleteObject", f"{resource}/{found.decode()}", ""
    elif method == "DELETE" and key:
        is_upload = "uploadId" in query
        yield "s3:AbortMultipartUpload" if is_upload else "s3:DeleteObject", resource, ""
    elif method in ("PUT", "POST") and key:
        yield "s3:PutObject", resource, ""
    elif method in ("GET", "HEAD") and key:
        yield "s3:GetObject", resource, ""
    elif method == "GET" and "lifecycle" in query:
        yield "s3:GetLifecycleConfiguration", resource, ""
    elif method == "GET":
        yield "s3:ListBucket", resource, query.get("prefix", [""])[0]
    else:
        raise AssertionError(f"which action is {method} {target}?")
