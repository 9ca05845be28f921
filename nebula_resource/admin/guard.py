"""Guard: what every request passes before anything reads it, and the headers every answer gets."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nebula_resource._aio import within
from nebula_resource.admin.counts import AdminCounts
from nebula_resource.admin.problems import AdminProblem, internal_problem

__all__ = ["HEAD", "MAX_BODY", "Guard"]

MAX_BODY = 64 * 1024
"""Bytes of a request's body."""
BODY_SECONDS = 10.0
"""A body that has not come by then never will."""
HEAD = "nebula.head"
"""In an ASGI scope: the request was a HEAD, and only the headers of the GET are sent."""

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware of the admin application.

    Args:
        app: what it guards.
        hosts: further names the Host header may have, beside the loopback ones.
        loopback_only: no credentials are configured, so only this machine is let in, and nothing that a proxy passed
            on, whose real peer nobody knows.
        counts: counts the answers.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str] = (),
        loopback_only: bool = True,
        counts: AdminCounts | None = None,
    ) -> None:
        self._app = app
        self._counts = counts or AdminCounts()
        self._hosts = frozenset(host.lower() for host in (*LOCAL_HOSTS, *hosts))
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        answer = _Answer(send, head=method == "HEAD")
        if method == "HEAD":
            scope = {**scope, "method": "GET", HEAD: True}
        started = asyncio.get_running_loop().time()
        try:
            await self._serve(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", None)
            seconds = None if answer.is_stream else asyncio.get_running_loop().time() - started
            if answer.status:
                self._counts.request(method, route, answer.status, seconds)

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            self._admit(scope)
            if scope["method"] not in _SAFE:
                body = await _whole_body(Headers(scope=scope), receive)
                if body is None:
                    return  # its client has gone in the middle of it: half an order is none
                receive = body
            await self._app(scope, receive, answer)
        except AdminProblem as problem:
            if problem.problem.status in {400, 403}:
                self._counts.refusal(problem.problem.code)
            await problem.response()(scope, receive, answer)
        except Exception as error:
            if answer.status:
                raise
            route = getattr(scope.get("route"), "path", None)
            await internal_problem(error, route)(scope, receive, answer)
        else:
            if answer.status in {401, 403}:
                self._counts.refusal("unauthenticated" if answer.status == 401 else "forbidden")

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._loopback_only:
            if not _is_loopback(scope):
                raise AdminProblem(
                    403, "loopback_only", "no credentials are configured: only this machine is served"
                )
            if any(name in headers for name in _FORWARDED):
                raise AdminProblem(
                    403, "forwarded", "no credentials are configured: proxied requests are refused"
                )
        if "content-length" in headers and "transfer-encoding" in headers:
            # Two ends of one body: a proxy may have gone by the other (RFC 9112 §6.1 wants the connection closed).
            raise AdminProblem(
                400,
                "two_lengths",
                "a body has one length: chunks or a number",
                headers={"Connection": "close"},
            )
        hosts = headers.getlist("host")
        if len(hosts) != 1 or self._name(hosts[0]) not in self._hosts:
            raise AdminProblem(400, "unknown_host", "the Host header names no host that is served here")
        if scope["method"] not in _SAFE:
            _check_origin(headers, hosts[0])

    @staticmethod
    def _name(host: str) -> str | None:
        match = _HOST.fullmatch(host)
        return match[1].lower() if match is not None else None


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    if client is None:
        server = scope.get("server")
        return server is not None and server[0].startswith(
            "/"
        )  # a unix socket: the file's permissions decide
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _check_origin(headers: Headers, host: str) -> None:
    """A page of another origin may not change anything; what is no browser sends no Origin."""
    origins = headers.getlist("origin")
    site = headers.get("sec-fetch-site")
    # Compared as the texts they are: what comes need not be a URL.
    same = not origins or (len(origins) == 1 and _is_of(origins[0].lower(), host.lower()))
    if not same or site not in {None, "same-origin", "none"}:
        raise AdminProblem(403, "cross_origin", "pages of other origins may not change anything here")


def _is_of(origin: str, host: str) -> bool:
    return origin in {f"http://{host}", f"https://{host}"}


async def _whole_body(headers: Headers, receive: Receive) -> Receive | None:
    """Read the body now, at most `MAX_BODY` bytes of it, and return what gives it again; None: its client has gone."""
    announced = headers.get("content-length", "0")
    too_large = AdminProblem(413, "body_too_large", f"a body has at most {MAX_BODY} bytes")
    if announced.isdecimal() and announced.isascii() and int(announced[:20]) > MAX_BODY:
        await _drop_what_came(receive)
        raise too_large
    body = bytearray()
    try:
        async with within(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                body += message.get("body", b"")
                if len(body) > MAX_BODY:
                    raise too_large
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise AdminProblem(408, "body_timeout", f"the body did not come within {BODY_SECONDS:g} s") from None
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/json":
        raise AdminProblem(415, "unsupported_media_type", "a body here is application/json")
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return again


async def _drop_what_came(receive: Receive) -> None:
    """Take the piece of a body that came with the head, and wait for no more.

    A server keeps what nobody takes with its connection, and that until the garbage collector finds both: a flood of such
    requests took tens of megabytes.
    """
    try:
        async with within(0):
            await receive()
    except TimeoutError:
        pass  # nothing has come


class _Answer:
    """A ``send`` that adds the headers, and leaves the body away where only the headers were asked for."""

    __slots__ = ("_head", "_send", "is_stream", "status")

    def __init__(self, send: Send, *, head: bool) -> None:
        self._send = send
        self._head = head
        self.status = 0
        """0 until the answer begins."""
        self.is_stream = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            self.is_stream = headers.get("content-type", "").startswith("text/event-stream")
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        elif self._head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)
