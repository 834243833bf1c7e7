"""HTTP to Airbyte: log-in, time limits, retries, and answers turned into errors.

A call is repeated only when it changes nothing. What a call that changes something did is unknown
after a time-out or a broken answer; its caller has to look (see `jobs`).
"""

from __future__ import annotations

import http.client
import json
import logging
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from lotus_lake.airbyte.access import AirbyteAccess
from lotus_lake.errors import (
    AirbyteBusyError,
    AirbyteError,
    AirbyteNotFoundError,
    AirbyteUnavailableError,
)

TIMEOUT_SECONDS = 60.0
ATTEMPTS = 4
_PAUSE_SECONDS = 0.5
# A token is renewed so long before it expires; Airbyte's live for 3 to 15 minutes.
_TOKEN_MARGIN_SECONDS = 30.0
_TOKEN_SECONDS = 180.0
_SHOWN_CHARACTERS = 500
_IDS = ("connectionId", "sourceId", "workspaceId", "id", "configId")

log = logging.getLogger(__name__)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to another server; it is an error instead."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


class Transport:
    """Sends calls to Airbyte and returns parsed answers.

    Args:
        access: Where and as whom.
        timeout_seconds: How long to wait for each answer.
        pause_seconds: Pause before the first repetition; it doubles with each one.
    """

    def __init__(
        self,
        access: AirbyteAccess,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        self.access = access
        self._timeout_seconds = timeout_seconds
        self._pause_seconds = pause_seconds
        self._token: str | None = None
        self._token_until = 0.0

    def config(self, path: str, body: Mapping[str, Any], *, read: bool) -> dict[str, Any]:
        """Call the configuration API.

        Args:
            path: Below the API's root, such as `jobs/get`.
            body: What to send.
            read: The call changes nothing, so that it may be repeated.

        Raises:
            AirbyteError: Airbyte refused.
            AirbyteBusyError: Another job or call is in the way.
            AirbyteUnavailableError: There was no usable answer.
        """
        return self._call("POST", f"{self.access.config_api}/{path}", body, read)

    def public(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Call the public API; a GET may be repeated. Raises the same errors as `config`."""
        return self._call(method, f"{self.access.public_api}/{path}", body, method == "GET")

    def _call(
        self, method: str, url: str, body: Mapping[str, Any] | None, read: bool
    ) -> dict[str, Any]:
        def call() -> dict[str, Any]:
            return self._authorised(method, url, body)

        return self._repeat(call) if read else call()

    def _repeat(self, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        for attempt in range(1, ATTEMPTS):
            try:
                return call()
            except AirbyteUnavailableError as error:
                log.info("attempt %d of %d: %s", attempt, ATTEMPTS, error)
                pause = self._pause_seconds * 2 ** (attempt - 1)
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
        return call()

    def _authorised(self, method: str, url: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """One call; with a fresh token when the one at hand has expired.

        A call that was answered with 401 did nothing, so any may be sent again.
        """
        had_token = self._token is not None
        status, answer = self._send(method, url, body, self._authorization())
        if status == 401 and had_token:
            self._token = None
            status, answer = self._send(method, url, body, self._authorization())
        if not 200 <= status < 300:
            raise self._refusal(method, url, _ids(body), status, answer)
        return _document(method, url, answer)

    def _authorization(self) -> str | None:
        if self.access.kind == "token" and self.access.token:
            return f"Bearer {self.access.token.get_secret_value()}"
        if self.access.kind == "basic":
            return self.access.basic_header()
        return f"Bearer {self._application_token()}" if self.access.kind == "application" else None

    def _application_token(self) -> str:
        if self._token is None or time.monotonic() > self._token_until:
            answer = self._repeat(self._fetch_token)
            token, seconds = answer.get("access_token"), answer.get("expires_in")
            if not isinstance(token, str) or not token:
                raise AirbyteUnavailableError("Airbyte's token answer holds no access_token")
            lifetime = float(seconds) if isinstance(seconds, int | float) else _TOKEN_SECONDS
            self._token = token
            self._token_until = time.monotonic() + max(lifetime - _TOKEN_MARGIN_SECONDS, 0.0)
        return self._token

    def _fetch_token(self) -> dict[str, Any]:
        secret = self.access.client_secret
        body = {
            "client_id": self.access.client_id,
            "client_secret": secret.get_secret_value() if secret else None,
            "grant_type": "client_credentials",
        }
        url = f"{self.access.token_api}/applications/token"
        status, answer = self._send("POST", url, body, None)
        if 200 <= status < 300:
            return _document("POST", url, answer)
        # Wrong credentials are a 400, 401, 403 or 404, depending on edition and version.
        if status in (400, 401, 403, 404, 422):
            raise self._refused_login(url, status, answer)
        raise self._refusal("POST", url, "", status, answer)

    def _send(
        self, method: str, url: str, body: Mapping[str, Any] | None, authorization: str | None
    ) -> tuple[int, bytes]:
        """One request and its whole answer, whatever its status."""
        headers = {"Accept": "application/json", "User-Agent": "lotus-lake"}
        if authorization:
            headers["Authorization"] = authorization
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        # The scheme was checked when the settings were read.
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
        try:
            try:
                with _opener.open(request, timeout=self._timeout_seconds) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()
        except http.client.IncompleteRead as error:
            raise AirbyteUnavailableError(
                f"{method} {url}: the answer broke off after {len(error.partial)} bytes"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise AirbyteUnavailableError(
                f"{method} {url}: no answer: {_reason(error)}",
                hint="check AIRBYTE_URL (or the host of the connection) and that Airbyte is up",
            ) from error

    def _refusal(self, method: str, url: str, ids: str, status: int, answer: bytes) -> Exception:
        text = f"{method} {url}{ids}: {status}: {self._message(answer)}"
        if status in (401, 403):
            return self._refused_login(url, status, answer)
        if status == 404:
            return AirbyteNotFoundError(text)
        if status == 409:
            return AirbyteBusyError(text)
        if status == 429 or status >= 500:
            return AirbyteUnavailableError(text)
        if 300 <= status < 400:
            return AirbyteError(text, hint="AIRBYTE_URL redirects: set the address it leads to")
        return AirbyteError(text)

    def _refused_login(self, url: str, status: int, answer: bytes) -> AirbyteError:
        what = "may not do this" if status == 403 else "was not accepted"
        return AirbyteError(
            f"{url}: {status}: the log-in {what}: {self._message(answer)}",
            hint=f"check {self.access.variables}",
        )

    def _message(self, answer: bytes) -> str:
        """What an error answer says, without any secret that the server sent back to us."""
        text = message_of(answer)
        access = self.access
        for secret in (access.client_secret, access.token, access.password):
            if secret:
                text = text.replace(secret.get_secret_value(), "***")
        return text.replace(self._token, "***") if self._token else text


def message_of(answer: bytes) -> str:
    """What an error answer says, in any of the forms that Airbyte has for it.

    Stack traces are left out. Recent servers answer the configuration API with an error id only.
    """
    try:
        document = json.loads(answer)
    except ValueError:
        return _shown(answer) or "no explanation"
    if not isinstance(document, dict):
        return _shown(answer)
    data = document.get("data")
    texts = [
        data.get("message") if isinstance(data, dict) else None,
        document.get("message"),
        document.get("detail"),
        document.get("title"),
    ]
    found = list(dict.fromkeys(text for text in texts if isinstance(text, str) and text))
    errors = document.get("validationErrors")
    for item in errors if isinstance(errors, list) else ():
        if isinstance(item, dict):
            found.append(f"{item.get('propertyPath')}: {item.get('message')}")
    if not found and document.get("errorId"):
        return f"see errorId {document['errorId']} in the log of Airbyte's server"
    return "; ".join(found)[:_SHOWN_CHARACTERS] or "no explanation"


def _ids(body: Mapping[str, Any] | None) -> str:
    """The ids that a call names, for its error: a recent server does not repeat them."""
    ids = [f"{name} {body[name]}" for name in _IDS if name in body] if body else []
    return f" ({', '.join(ids)})" if ids else ""


def _document(method: str, url: str, answer: bytes) -> dict[str, Any]:
    """The parsed answer of a call that succeeded."""
    try:
        document = json.loads(answer) if answer.strip() else {}
    except ValueError as error:
        raise AirbyteUnavailableError(
            f"{method} {url}: the answer is not JSON: {_shown(answer)!r}",
            hint="is AIRBYTE_URL Airbyte's own address, or that of a proxy's log-in page?",
        ) from error
    if not isinstance(document, dict):
        raise AirbyteUnavailableError(f"{method} {url}: the answer is no object")
    return document


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(reason) or type(reason).__name__


def _shown(answer: bytes) -> str:
    return answer[:_SHOWN_CHARACTERS].decode("utf-8", errors="replace").strip()
