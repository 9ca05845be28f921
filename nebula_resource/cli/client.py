"""AdminClient: asks a service's admin API; what goes wrong becomes a `Failure`."""

from __future__ import annotations

import ssl
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from socket import gaierror
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from nebula_resource.cli.failure import ExitCode, Failure

__all__ = ["MISSING", "AdminClient"]

TIMEOUT = httpx.Timeout(10.0, connect=3.0)
"""Seconds for an answer, and to connect. A release by probe runs a resource's whole check first."""
PAGE = 500
"""Items asked for at once: the most the API gives."""
MISSING = "there is none with this id, or none that this key may see"
"""What a service does not say in its 404: it must not tell the unknown from the foreign."""
LOOK_EVERY = 0.2
"""Seconds between two looks at an operation that goes on."""


class AdminClient:
    """One service, with or without a key. A context manager.

    Args:
        url: where the admin API is, ``http://127.0.0.1:8000`` or with a path where it is mounted.
        key: an API key; it is sent and never shown.

    Raises:
        Failure: ``url`` is none.
    """

    def __init__(self, url: str, key: str | None) -> None:
        self._where = _place(url)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            # Neither the environment's proxies nor its netrc have a say in where a key is sent.
            self._http = httpx.Client(
                base_url=url.rstrip("/") + "/",
                headers=headers,
                timeout=TIMEOUT,
                trust_env=False,
                verify=_trust(url),
            )
        except (UnicodeEncodeError, httpx.InvalidURL, ValueError):
            raise Failure(ExitCode.USAGE, "--url or --key has characters that cannot be sent") from None

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    # ── ask ──

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The body of an answer. Raises `Failure`."""
        response = self._send("GET", path, params=_given(query))
        if query.get("pool") is not None and response.status_code == httpx.codes.NOT_FOUND:
            # No such pool, or no admin API here: the list itself is always there.
            self._found(self._send("GET", path, params={"limit": 1}), path)
            return self._body(response)
        return self._body(self._found(response, path))

    def items(self, path: str, **query: Any) -> dict[str, Any]:
        """A list whole: the pages that follow are asked for and joined. Raises `Failure`."""
        body = self.get(path, limit=PAGE, **query)
        items, cursor = [*body["items"]], body["next_cursor"]
        while cursor:
            more = self.get(path, limit=PAGE, cursor=cursor, **query)
            items += more["items"]
            cursor = more["next_cursor"]
        return body | {"items": items, "next_cursor": None}

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether it is well, and what it says of it: 503 is an answer here. Raises `Failure`."""
        response = self._found(self._send("GET", "health"), "health")
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return False, _json(response, self._where)
        return True, self._body(response)

    def post(
        self, path: str, body: dict[str, Any], *, missing: str | None = None, **headers: str
    ) -> dict[str, Any]:
        """Ask for a change; ``missing`` says what a 404 means here. Raises `Failure`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self._send("POST", path, json=_given(body), headers=sent)
        return self._body(response, missing=missing or MISSING)

    def operation(self, id: str) -> Iterator[dict[str, Any]]:
        """Follow an operation until it has ended; yields what is known of it, the end included. Raises `Failure`."""
        while True:
            seen = self.get(f"operations/{quote(id, safe='')}")
            yield seen
            if seen["state"] != "running":
                return
            time.sleep(LOOK_EVERY)

    @contextmanager
    def stream(self, path: str, *, last_id: str | None, **query: Any) -> Generator[Iterator[str]]:
        """The lines of a live stream. Raises `Failure` where there is none, `httpx.RequestError` when it is cut."""
        headers = {"Accept": "text/event-stream"} | ({} if last_id is None else {"Last-Event-ID": last_id})
        # A heartbeat comes every 15 seconds: whoever is silent for twice that is gone.
        patience = httpx.Timeout(30.0, connect=3.0)
        with self._http.stream(
            "GET", path, params=_given(query), headers=headers, timeout=patience
        ) as response:
            if response.status_code != httpx.codes.OK:
                response.read()
                self._body(response)
            yield response.iter_lines()

    # ── answers ──

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TimeoutException:
            raise Failure(ExitCode.UNREACHABLE, f"{self._where} does not answer in time") from None
        except httpx.RequestError as error:
            raise Failure(ExitCode.UNREACHABLE, f"{self._where} cannot be reached: {_why(error)}") from None

    def _found(self, response: httpx.Response, path: str) -> httpx.Response:
        """The answer, unless what every admin API has is not there."""
        if response.status_code == httpx.codes.NOT_FOUND and "/" not in path:
            raise Failure(
                ExitCode.UNREACHABLE,
                f"{self._where} has no admin API at this path: give --url the one where it is mounted",
            )
        return response

    def _body(self, response: httpx.Response, *, missing: str = MISSING) -> dict[str, Any]:
        if response.has_redirect_location:
            raise Failure(
                ExitCode.UNREACHABLE,
                f"{self._where} answers {response.status_code} and points to {response.headers['location']}; "
                "a key is not sent after it: give --url the address itself",
            )
        body = _json(response, self._where)
        if response.is_success:
            return body
        said = _said(body, missing)
        wait = response.headers.get("retry-after")
        if wait is not None:
            said.append(f"try again in {wait} s")
        raise Failure(ExitCode.REFUSED, f"{response.status_code} " + "; ".join(said))


class _Answer(dict[str, Any]):
    """An object of an answer. One that lacks what an admin API gives comes from something else."""

    def __missing__(self, name: str) -> Any:
        raise Failure(ExitCode.UNREACHABLE, f"what answers is no admin API: it gives no {name!r}")


def _why(error: BaseException) -> str:
    """What the system said of it, where it said something; else what it is called."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there"
        if isinstance(cause, gaierror):
            return "nobody knows that name"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def _said(problem: dict[str, Any], missing: str) -> list[str]:
    """What a problem tells, in the order in which a person wants to know it."""
    said = [str(problem[name]) for name in ("title", "detail") if problem.get(name)]
    if problem.get("code") == "not_found":
        said.append(missing)
    errors, ids, health = (problem.get(name) for name in ("errors", "candidates", "health"))
    for each in errors if isinstance(errors, list) else ():
        said.append(f"{each.get('pointer')} {each.get('message')}" if isinstance(each, dict) else str(each))
    if isinstance(ids, list):
        said.append(f"say which: {', '.join(map(str, ids))}")
    if isinstance(health, dict):
        said.append(f"{health.get('result')}: {health.get('reason')}")
    return said


def _json(response: httpx.Response, where: str) -> dict[str, Any]:
    try:
        body = response.json(object_hook=_Answer)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Failure(
            ExitCode.UNREACHABLE, f"{where} answers {response.status_code}, but not as an admin API does"
        )
    return body


def _place(url: str) -> str:
    """Scheme, host and port: what may be shown of an address. Raises `Failure` for what is none."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # a port above 65535, a bracket that does not close
        parts, port = urlsplit(""), ""
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise Failure(
            ExitCode.USAGE, "--url must be the address of an admin API, such as http://127.0.0.1:8000"
        )
    return f"{parts.scheme}://{parts.hostname}{port}"


def _trust(url: str) -> ssl.SSLContext | bool:
    """Whom TLS believes: who is known to be trusted; where there is none nobody, for reading them takes a twentieth of a second."""
    is_plain = urlsplit(url).scheme == "http"  # and no redirect is followed
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else True


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
