"""HTTP to Airbyte: authentication, time limits, retries, and errors by what a caller can do.

A call is repeated only if it changes nothing. After a timeout or a broken answer nobody knows what
a call that changes something did: its caller has to find out (see `jobs`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpx
import tenacity

from lotus_lake.airbyte.access import AirbyteAccess
from lotus_lake.errors import (
    AirbyteBusyError,
    AirbyteError,
    AirbyteNotFoundError,
    AirbyteUnavailableError,
    LotusLakeError,
)

ATTEMPTS = 4
_CONNECT_SECONDS = 10.0
# A token is renewed this long before it expires; Airbyte's live for 3 to 15 minutes.
_TOKEN_MARGIN_SECONDS = 30.0
_TOKEN_SECONDS = 180.0
_TOKEN_PATH = "/applications/token"  # noqa: S105
_SHOWN_CHARACTERS = 500
_IDS = ("connectionId", "sourceId", "workspaceId", "id", "configId")

log = logging.getLogger(__name__)


class Transport:
    """Sends calls to Airbyte and returns parsed answers.

    Args:
        access: Airbyte's addresses and the credentials.
        read_seconds: Longest silence of the server within a call.
        total_seconds: Longest duration of a call; ends one whose answer comes byte by byte.
        pause_seconds: Longest pause before the first retry; it doubles with each retry.
    """

    def __init__(
        self,
        access: AirbyteAccess,
        *,
        read_seconds: float = 60.0,
        total_seconds: float = 300.0,
        pause_seconds: float = 1.0,
    ) -> None:
        self._access = access
        self._read_seconds = read_seconds
        self._total_seconds = total_seconds
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(AirbyteUnavailableError),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=pause_seconds),
            before_sleep=tenacity.before_sleep_log(log, logging.INFO),
            reraise=True,
        )
        # The system's certificate authorities: httpx brings its own, without a company's.
        self._tls = ssl.create_default_context()
        self._token: str | None = None
        self._token_until = 0.0

    def call(
        self,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        read: bool,
        read_seconds: float | None = None,
    ) -> dict[str, Any]:
        """POST a body, or GET without one.

        Args:
            url: Whole address.
            body: What to send.
            read: The call changes nothing, so it may be repeated.
            read_seconds: Longest silence, if it is another one for this call.

        Raises:
            AirbyteError: Airbyte refused.
            AirbyteBusyError: Another job or call is in the way.
            AirbyteUnavailableError: There was no usable answer.
        """
        call = self._retrying.wraps(self._authorised) if read else self._authorised
        return call(url, body, read_seconds or self._read_seconds)

    def _authorised(
        self, url: str, body: Mapping[str, Any] | None, read_seconds: float
    ) -> dict[str, Any]:
        """One call; a second one with a new token if the server refuses the old one.

        A call that was answered with 401 did nothing, so any may be sent again.
        """
        had_token = self._token is not None
        response = self._send(url, body, self._authorization(), read_seconds)
        if response.status_code == 401 and had_token:
            self._token = None
            response = self._send(url, body, self._authorization(), read_seconds)
        return self._document(response, body)

    def _authorization(self) -> str | None:
        if self._access.kind == "basic":
            return self._access.basic_header()
        if self._access.kind == "application":
            return f"Bearer {self._application_token()}"
        return f"Bearer {token.get_secret_value()}" if (token := self._access.token) else None

    def _application_token(self) -> str:
        if self._token is None or time.monotonic() > self._token_until:
            answer = self._retrying.wraps(self._fetch_token)()
            token, seconds = answer.get("access_token"), answer.get("expires_in")
            if not isinstance(token, str) or not token:
                raise AirbyteUnavailableError("Airbyte's token answer has no access_token")
            lifetime = float(seconds) if isinstance(seconds, int | float) else _TOKEN_SECONDS
            self._token = token
            self._token_until = time.monotonic() + max(lifetime - _TOKEN_MARGIN_SECONDS, 0.0)
        return self._token

    def _fetch_token(self) -> dict[str, Any]:
        secret = self._access.client_secret
        body = {
            "client_id": self._access.client_id,
            "client_secret": secret.get_secret_value() if secret else None,
            "grant_type": "client_credentials",
        }
        url = self._access.token_api + _TOKEN_PATH
        return self._document(self._send(url, body, None, self._read_seconds))

    def _send(
        self,
        url: str,
        body: Mapping[str, Any] | None,
        authorization: str | None,
        read_seconds: float,
    ) -> httpx.Response:
        """One request and its whole answer, whatever its status."""
        method = "GET" if body is None else "POST"
        headers = {"Accept": "application/json", "User-Agent": "lotus-lake"}
        if authorization:
            headers["Authorization"] = authorization
        try:
            request = httpx.Request(method, url, headers=headers, json=body)
            return asyncio.run(self._exchange(request, read_seconds))
        except (httpx.LocalProtocolError, UnicodeEncodeError):
            # The text of the error may repeat the header.
            raise AirbyteError(
                f"{method} {url}: the credentials contain a character that an HTTP header cannot "
                "carry",
                hint=f"check {self._access.variables}",
            ) from None
        except (TimeoutError, httpx.HTTPError) as error:
            raise AirbyteUnavailableError(
                f"{method} {url}: no answer: {_reason(error)}",
                hint="check AIRBYTE_URL (or the host of the connection) and that Airbyte is up",
            ) from error

    async def _exchange(self, request: httpx.Request, read_seconds: float) -> httpx.Response:
        """Send a request; a redirect, which would carry the token elsewhere, is not followed.

        A coroutine, because asyncio can limit a call as a whole and httpx cannot.
        """
        total_seconds = max(read_seconds, self._total_seconds)
        timeout = httpx.Timeout(read_seconds, connect=_CONNECT_SECONDS)
        async with (
            asyncio.timeout(total_seconds),
            httpx.AsyncClient(verify=self._tls, timeout=timeout) as client,
        ):
            return await client.send(request, follow_redirects=False)

    def _document(
        self, response: httpx.Response, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The parsed answer of a call that succeeded."""
        if not response.is_success:
            raise self._refusal(response, body)
        what = f"{response.request.method} {response.url}"
        try:
            document = response.json() if response.content.strip() else {}
        except ValueError as error:
            raise AirbyteUnavailableError(
                f"{what}: the answer is not JSON: {self._shown(response.text)!r}",
                hint="is AIRBYTE_URL Airbyte's own address, or that of a proxy's login page?",
            ) from error
        if not isinstance(document, dict):
            raise AirbyteUnavailableError(f"{what}: the answer is not a JSON object")
        return document

    def _refusal(self, response: httpx.Response, body: Mapping[str, Any] | None) -> LotusLakeError:
        status, is_login = response.status_code, response.url.path.endswith(_TOKEN_PATH)
        what = f"{response.request.method} {response.url}{_ids(body)}: {status}"
        said = self._shown(message_of(response.text))
        # Wrong credentials are a 400, 401, 403, 404 or 422, depending on edition and version.
        if status in (401, 403) or (is_login and status in (400, 404, 422)):
            reason = "lacks the right to do this" if status == 403 else "was not accepted"
            return AirbyteError(
                f"{what}: the login {reason}: {said}", hint=f"check {self._access.variables}"
            )
        if status == 404:
            return AirbyteNotFoundError(f"{what}: {said}")
        if status == 409:
            return AirbyteBusyError(f"{what}: {said}")
        if status == 429 or status >= 500:
            return AirbyteUnavailableError(f"{what}: {said}")
        redirects = "AIRBYTE_URL redirects: set the address it leads to"
        return AirbyteError(f"{what}: {said}", hint=redirects if response.is_redirect else None)

    def _shown(self, text: str) -> str:
        """The beginning of what the server says, without any secret that it sends back."""
        access = self._access
        given = [access.client_secret, access.token, access.password]
        for secret in [self._token, *(item.get_secret_value() for item in given if item)]:
            text = text.replace(secret, "***") if secret else text
        return text.strip()[:_SHOWN_CHARACTERS]


def message_of(answer: str) -> str:
    """What an error answer says, in any of the forms that Airbyte has for it.

    Stack traces are left out. Recent servers answer the configuration API with an error id only.
    """
    try:
        document = json.loads(answer)
    except ValueError:
        return answer.strip() or "no explanation"
    if not isinstance(document, dict):
        return answer
    data, errors = document.get("data"), document.get("validationErrors")
    texts = [
        data.get("message") if isinstance(data, dict) else None,
        *(document.get(name) for name in ("message", "detail", "title")),
    ]
    found = list(dict.fromkeys(text for text in texts if isinstance(text, str) and text))
    for item in errors if isinstance(errors, list) else ():
        if isinstance(item, dict):
            found.append(f"{item.get('propertyPath')}: {item.get('message')}")
    if not found and document.get("errorId"):
        return f"see errorId {document['errorId']} in the log of Airbyte's server"
    return "; ".join(found) or "no explanation"


def _ids(body: Mapping[str, Any] | None) -> str:
    """The ids that a call names, for its error: a recent server does not repeat them."""
    ids = [f"{name} {body[name]}" for name in _IDS if name in body] if body else []
    return f" ({', '.join(ids)})" if ids else ""


def _reason(error: BaseException | None) -> str:
    """Why there is no answer."""
    if isinstance(error, TimeoutError):
        return "timed out: the whole answer took too long"
    if isinstance(error, httpx.TimeoutException):
        return f"timed out: {type(error).__name__}"
    # httpx says only "all connection attempts failed"; the innermost cause says why.
    reason = ""
    while isinstance(error, Exception) and not isinstance(error, LotusLakeError):
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        else:
            error = error.__cause__ or error.__context__
    return reason
