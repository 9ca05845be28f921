"""HttpResource: an HTTP service as a resource: one shared set of connections, a client for each caller."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

import httpx

from nebula_resource.drivers.http.config import HttpConfig, parse_url
from nebula_resource.drivers.http.errors import TargetRefused
from nebula_resource.drivers.http.guard import Resolver, resolve
from nebula_resource.drivers.http.lease import ClientLease
from nebula_resource.drivers.http.transport import HttpConnections, Origin, origin_of
from nebula_resource.errors import ConfigurationError, FieldViolation, MissingCredential, ValidationFailed
from nebula_resource.model.config import Secret
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.credentials import AuthenticatedResource, Credential
from nebula_resource.model.health import HealthCheckable, HealthStatus
from nebula_resource.model.resource import DelegatedStats, Resource, ResourceMetadata

__all__ = ["HttpResource"]

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, "token"
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_GATEWAY = (502, 503, 504)
_BACK_TO_BACK = "must not be given beside the name of a credential"


class HttpResource(
    AuthenticatedResource, Resource[HttpConfig, HttpConnections, httpx.AsyncClient], HealthCheckable
):
    """An HTTP service; register it with ``pool={"sharing": "shared", "min_size": 1, "max_size": 2}``.

    The instance is one set of connections, pooled by httpx's own httpcore (its numbers show in ``delegated_stats``).
    A lease is an ``httpx.AsyncClient`` of the caller's own over them. Nothing is retried.

    Every connection is made by a guard against requests to where they do not belong (SSRF): the name is resolved once,
    every address is held against a table, and the connection goes to a checked address; redirects (off by default)
    pass the same way.

    Args:
        id: the resource's id.
        dependencies: ids that must be open first.
        resolver: how names are resolved: ``await resolver(host, port)`` returns addresses or raises OSError.
    """

    metadata = ResourceMetadata("HTTP service", "A service reached through httpx", tags=("http",))

    def __init__(
        self, id: str = "http", *, dependencies: Sequence[str] = (), resolver: Resolver = resolve
    ) -> None:
        self.id = id
        self.dependencies = dependencies
        self._resolver = resolver
        self._origins: set[Origin] = set()

    def validate_config(self, config: HttpConfig) -> Iterable[FieldViolation]:
        """Yield what is wrong with URLs, headers and files, and which settings do not go together."""
        yield from _wrong_with_url(config)
        yield from _wrong_with_login(config)
        yield from _wrong_with_headers(config)
        yield from _wrong_with_tls(config)
        yield from _wrong_with_proxy(config)

    async def create(self, config: HttpConfig, context: ResourceContext) -> HttpConnections:
        """Make the set of connections; none is opened yet.

        Raises:
            ValidationFailed: the configuration is wrong.
            MissingCredential: the provider lacks a credential that the configuration names.
            ConfigurationError: a certificate or key cannot be read.
        """
        violations = list(self.validate_config(config))
        if violations:
            raise ValidationFailed(violations, resource_id=self.id)
        credentials = await self._credentials(config, context)
        tls = await asyncio.to_thread(_tls, config)  # it reads files
        if tls is None:
            raise ConfigurationError("the certificate or key files cannot be used", resource_id=self.id)
        secrets = _secret_headers(config, credentials)
        if not all(map(_HEADER_VALUE.fullmatch, secrets.values())):  # h11's error would quote it
            raise ConfigurationError(
                "a credential has characters that no header may have", resource_id=self.id
            )
        connections = HttpConnections(
            config,
            secrets,
            tls,
            resolver=self._resolver,
            expires_at=min(
                (each.expires_at for each in credentials.values() if each.expires_at), default=None
            ),
        )
        self._origins.add(connections.origin)
        return connections

    async def _credentials(self, config: HttpConfig, context: ResourceContext) -> dict[str, Credential]:
        self.credential_keys = tuple(dict.fromkeys((*self.credential_keys, *config.credential_keys)))
        found: dict[str, Credential] = {}
        for key in config.credential_keys:
            if context.credentials is None:
                raise MissingCredential(key, resource_id=self.id)
            found[key] = await context.credentials.get(key)
        return found

    def is_broken(self, instance: HttpConnections) -> bool:
        """Say whether it was closed."""
        return instance.closed

    async def is_valid(self, instance: HttpConnections) -> bool:
        """Say whether it can be used: open, its credential not at its end. Httpcore itself drops ended connections."""
        return not instance.closed and (
            instance.expires_at is None or datetime.now(UTC) < instance.expires_at
        )

    async def cleanup(self, instance: HttpConnections) -> None:
        """Close every connection."""
        await instance.aclose()

    def lease(
        self, instance: HttpConnections, context: ResourceContext
    ) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """Lend a client of the caller's own; it is closed, with responses left open, when the lease ends."""
        return ClientLease(instance)

    def is_fault(self, error: BaseException) -> bool:
        """Say whether the service failed: not reached, broke off, too slow, or a gateway without it (502, 503, 504).

        Errors of other hosts that a caller asked are not the service's, and neither is a refused target.
        """
        if isinstance(error, BaseExceptionGroup):
            return any(map(self.is_fault, error.exceptions))
        if isinstance(
            error, TargetRefused | httpx.PoolTimeout | httpx.UnsupportedProtocol | httpx.LocalProtocolError
        ):
            return False
        if isinstance(error, httpx.HTTPStatusError):
            return error.response.status_code in _GATEWAY and self._is_ours(error)
        if isinstance(error, httpx.TransportError):
            return self._is_ours(error)
        return error.__cause__ is not None and self.is_fault(error.__cause__)

    def _is_ours(self, error: httpx.HTTPStatusError | httpx.TransportError) -> bool:
        try:
            return origin_of(error.request.url) in self._origins
        except RuntimeError:  # raised by somebody without a request
            return False

    async def health_check(self, instance: HttpConnections, context: ResourceContext) -> HealthStatus:
        """``GET`` the health path: below 400 is healthy; latency in seconds."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with (
                self.lease(instance, context) as client,
                client.stream("GET", instance.config.health_path) as got,
            ):
                status = got.status_code
        except httpx.HTTPError as error:
            return HealthStatus.unhealthy(type(error).__name__, latency_s=loop.time() - started)
        latency = loop.time() - started
        if status >= httpx.codes.BAD_REQUEST:
            return HealthStatus.unhealthy(
                f"it answered {status}", latency_s=latency, metadata={"status": status}
            )
        return HealthStatus.healthy(latency_s=latency, metadata={"status": status})

    def delegated_stats(self, instance: HttpConnections) -> DelegatedStats:
        """Report httpcore's connections."""
        connections = instance.connections
        idle = sum(connection.is_idle() for connection in connections)
        return DelegatedStats(
            size=len(connections),
            idle=idle,
            in_use=len(connections) - idle,
            max=instance.config.max_connections,
        )


def _secret_headers(config: HttpConfig, credentials: Mapping[str, Credential]) -> dict[str, str]:
    found = {
        name: value.get_secret_value() for name, value in config.headers.items() if isinstance(value, Secret)
    }
    user = _secret(config.user, config.user_credential_key, credentials)
    password = _secret(config.password, config.credential_key, credentials)
    if config.auth == "bearer" and password is not None:
        found["Authorization"] = f"Bearer {password}"
    elif user is not None or password is not None:
        login = base64.b64encode(f"{user or ''}:{password or ''}".encode()).decode()
        found["Authorization"] = f"Basic {login}"
    return found


def _secret(value: Secret | None, key: str | None, credentials: Mapping[str, Credential]) -> str | None:
    chosen = value if key is None else credentials[key].value
    return None if chosen is None else chosen.get_secret_value()


# ── what may be wrong with a configuration ────────────────────────────────────────────────────────────────────────


def _wrong_with_url(config: HttpConfig) -> Iterator[FieldViolation]:
    url = parse_url(config.base_url)
    if url is None or url.scheme not in ("http", "https") or not url.host:
        yield FieldViolation("base_url", "must be a URL such as https://api.example.com", "another text")
    elif url.query or url.fragment:
        yield FieldViolation("base_url", "must have neither a query nor a fragment", "one")
    if not config.health_path.startswith("/") or config.health_path.startswith("//"):
        yield FieldViolation("health_path", "must begin with one slash", "another text")


def _wrong_with_login(config: HttpConfig) -> Iterator[FieldViolation]:
    url = parse_url(config.base_url)
    if url is not None and url.userinfo:
        yield FieldViolation("base_url", "must not have a login beside `user` and `password`", "both")
    if config.user is not None and config.user_credential_key is not None:
        yield FieldViolation("user", _BACK_TO_BACK, "both")
    if config.password is not None and config.credential_key is not None:
        yield FieldViolation("password", _BACK_TO_BACK, "both")
    if config.auth == "bearer":
        if config.user is not None or config.user_credential_key is not None:
            yield FieldViolation("user", "is not for auth=bearer, which is a token alone", "given")
        token = config.password.get_secret_value() if config.password else ""
        if not _HEADER_VALUE.fullmatch(token):
            yield FieldViolation("password", "must be printable ASCII for auth=bearer", "other characters")


def _wrong_with_headers(config: HttpConfig) -> Iterator[FieldViolation]:
    login = any((config.user, config.password, *config.credential_keys))
    for number, (name, value) in enumerate(config.headers.items()):
        path = f"headers.{name}" if _HEADER_NAME.fullmatch(name) else f"headers.{number}"
        if not _HEADER_NAME.fullmatch(name):
            yield FieldViolation(path, "must have a name of letters, digits and hyphens", "another text")
        if not _HEADER_VALUE.fullmatch(value.get_secret_value() if isinstance(value, Secret) else value):
            yield FieldViolation(path, "must be printable ASCII", "other characters")
        if login and name.lower() == "authorization":
            yield FieldViolation(path, "must not be given beside a login", "both")


def _wrong_with_tls(config: HttpConfig) -> Iterator[FieldViolation]:
    files = {name: getattr(config, name) for name in ("ca_file", "client_cert_file", "client_key_file")}
    for name, path in files.items():
        if path is not None and not path.is_file():
            yield FieldViolation(name, "must be a file", "none")
    if config.client_cert_file is None and (config.client_key_file or config.client_key_password):
        yield FieldViolation("client_cert_file", "is needed with client_key_file", "nothing")
    if config.ca_file is not None and not config.verify:
        yield FieldViolation("ca_file", "is of no use with verify=False", "both")


def _wrong_with_proxy(config: HttpConfig) -> Iterator[FieldViolation]:
    if config.proxy is None:
        return
    url = parse_url(config.proxy.get_secret_value())
    if url is None or url.scheme not in ("http", "https") or not url.host:
        yield FieldViolation("proxy", "must be a URL such as http://proxy:3128", "another text")
    if config.allowed_hosts is None:
        rule = "is needed with a proxy: it resolves names itself, so addresses cannot be checked here; () allows base_url's"
        yield FieldViolation("allowed_hosts", rule, "nothing")


def _tls(config: HttpConfig) -> ssl.SSLContext | None:
    """Make the TLS context; None when a file is not what it should be (its error would name it)."""
    try:
        if config.ca_file is not None:
            context = ssl.create_default_context(cafile=str(config.ca_file))
        else:
            context = httpx.create_ssl_context(verify=config.verify, trust_env=False)
        if config.client_cert_file is not None:
            secret = config.client_key_password
            context.load_cert_chain(
                str(config.client_cert_file),
                None if config.client_key_file is None else str(config.client_key_file),
                # A function, so that OpenSSL never asks at the terminal.
                lambda: "" if secret is None else secret.get_secret_value(),
            )
    except OSError:  # ssl.SSLError is one
        return None
    return context
