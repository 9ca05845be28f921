"""HttpResource on a real server: clients over shared connections, logins that stay home, and the guard."""

import asyncio
import logging
import socket
import ssl
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from nebula_resource.drivers.http import HttpConfig, HttpResource, TargetRefused
from nebula_resource.drivers.http.addresses import AddressPolicy
from nebula_resource.drivers.http.guard import GuardedBackend
from nebula_resource.errors import ConfigurationError, CreateFailed
from nebula_resource.model.config import Secret
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.credentials import Credential, StaticCredentials
from nebula_resource.model.health import Healthy, Unhealthy
from nebula_resource.pool import Pool, PoolConfig

CANARY = "kanarie-5f1c"
CONTEXT = ResourceContext()
CERTIFICATES = Path(__file__).parent / "certificates"
SHARED = PoolConfig(sharing="shared", min_size=0, max_size=2)  # type: ignore[arg-type]  # a lower-case name is accepted
LOOPBACK = ("127.0.0.1/32",)


@dataclass
class Server:
    """A small HTTP server that notes what it was asked and answers as its handler says."""

    port: int
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    connections: int = 0
    answers: Mapping[str, str] = field(default_factory=dict)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncGenerator[Server]:
    """Serve until the block ends."""
    server = Server(0)
    writers: set[asyncio.StreamWriter] = set()
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        writers.add(writer)
        handler = asyncio.current_task()
        assert handler is not None
        handlers.add(handler)
        handler.add_done_callback(handlers.discard)
        try:
            while line := await reader.readline():
                target = line.decode().split()[1]
                headers = {}
                while (row := await reader.readline()) not in (b"\r\n", b""):
                    name, _, value = row.decode().partition(":")
                    headers[name.lower()] = value.strip()
                server.requests.append((target, headers))
                answer = server.answers.get(target, "200 OK\r\nContent-Length: 2\r\n\r\nok")
                if answer == "silence":
                    server.waiting.set()
                    await reader.read()
                    return
                writer.write(f"HTTP/1.1 {answer}".encode())
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writers.discard(writer)
            writer.transport.abort()

    listening = await asyncio.start_server(serve, host, 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for writer in list(writers):
            writer.transport.abort()
        async with asyncio.timeout(10):
            while handlers:
                await asyncio.wait(handlers)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server on this machine."""
    async with serving() as made:
        yield made


def names(**addresses: str) -> Callable[[str, int], Awaitable[list[str]]]:
    """Make a resolver that knows these names alone; an address resolves to itself."""

    async def resolve(host: str, port: int) -> list[str]:
        if host.replace(".", "").isdigit():
            return [host]
        if host.replace(".", "_") not in addresses:
            raise OSError("unknown name")
        return addresses[host.replace(".", "_")].split()

    return resolve


@asynccontextmanager
async def client(config: HttpConfig, **resource: Any) -> AsyncGenerator[httpx.AsyncClient]:
    """Lease a client of an instance of its own."""
    made = HttpResource("api", **resource)
    instance = await made.create(config, CONTEXT)
    try:
        async with made.lease(instance, CONTEXT) as leased:
            yield leased
    finally:
        await made.cleanup(instance)


def local(server: Server, **settings: Any) -> HttpConfig:
    """Make a configuration that may reach this machine."""
    given: dict[str, Any] = {"base_url": server.url, "allowed_networks": LOOPBACK, **settings}
    return HttpConfig(**given)


# ── clients ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_leases_share_connections_and_nothing_else(server: Server) -> None:
    """Clients of one pool use the same connection; cookies, headers and hooks of one are unknown to the next."""
    server.answers = {
        "/login": f"200 OK\r\nSet-Cookie: session={CANARY}; Path=/\r\nContent-Length: 0\r\n\r\n"
    }
    resource = HttpResource("api")
    pool = Pool(resource, local(server, headers={"Accept-Language": "de"}), SHARED)
    await pool.open()
    async with pool.acquire(CONTEXT) as first:
        first.headers["X-Tenant"] = CANARY
        await first.get("/login")
        await first.get("/again")
        assert server.requests[-1][1]["cookie"] == f"session={CANARY}"
    async with pool.acquire(CONTEXT) as second:
        await second.get("/other")
    assert CANARY not in str(server.requests[-1])
    assert [headers["accept-language"] for _, headers in server.requests] == ["de"] * 3
    assert server.connections == 1
    with pytest.raises(RuntimeError, match="closed"):
        await first.get("/late")
    assert pool.stats().created == 1
    pool.check()
    await pool.close()
    pool.check()


async def test_a_response_left_open_ends_with_its_lease(server: Server) -> None:
    """A body that nobody read gives its connection back when the lease ends."""
    resource = HttpResource("api")
    instance = await resource.create(local(server, max_connections=1, pool_timeout=1), CONTEXT)
    for _ in range(3):
        async with resource.lease(instance, CONTEXT) as leased:
            request = leased.build_request("GET", "/")
            await leased.send(request, stream=True)
            assert resource.delegated_stats(instance).in_use == 1
    async with resource.lease(instance, CONTEXT) as leased:
        assert (await leased.get("/")).text == "ok"
    stats = resource.delegated_stats(instance)
    assert (stats.size, stats.idle, stats.in_use, stats.max) == (1, 1, 0, 1)
    await resource.cleanup(instance)
    assert resource.is_broken(instance)
    assert resource.delegated_stats(instance).size == 0


async def test_a_cancelled_request_gives_its_connection_back(server: Server) -> None:
    """A request given up leaves no connection in use."""
    server.answers = {"/slow": "silence"}
    resource = HttpResource("api")
    instance = await resource.create(local(server), CONTEXT)

    async def body() -> None:
        async with resource.lease(instance, CONTEXT) as leased:
            await leased.get("/slow")

    task = asyncio.create_task(body())
    await server.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert resource.delegated_stats(instance).in_use == 0
    await resource.cleanup(instance)


async def test_failures_are_httpx_errors_and_nothing_is_retried(server: Server) -> None:
    """Errors keep httpx's names, hold their request, and come after one attempt."""
    server.answers = {"/slow": "silence", "/odd": "??? nonsense\r\n\r\n"}
    async with client(local(server, read_timeout=0.05)) as leased:
        with pytest.raises(httpx.ReadTimeout) as timeout:
            await leased.get("/slow")
        with pytest.raises(httpx.RemoteProtocolError):
            await leased.get("/odd")
        with pytest.raises(httpx.UnsupportedProtocol):
            await leased.get("gopher://127.0.0.1/x")
    assert timeout.value.request.url == f"{server.url}/slow"
    assert [target for target, _ in server.requests] == ["/slow", "/odd"]
    async with serving() as gone:
        pass
    async with client(local(gone)) as leased:
        with pytest.raises(httpx.ConnectError):
            await leased.get("/")


# ── logins ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_login_goes_to_the_service_alone(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Login and secret headers are sent to base_url's origin, not to another port, name, or a redirect's target."""
    caplog.set_level(logging.DEBUG)
    async with serving() as other:
        server.answers = {"/away": f"302 Found\r\nLocation: {other.url}/there\r\nContent-Length: 0\r\n\r\n"}
        config = local(
            server,
            user=Secret("app"),
            password=Secret(CANARY),
            headers={"X-Api-Key": CANARY, "X-Plain": "seen"},
            follow_redirects=True,
            allowed_ports=(other.port,),
        )
        async with client(config) as leased:
            response = await leased.get("/here")
            await leased.get("/away")
            await leased.get(f"{other.url}/direct")
            assert CANARY not in repr(leased.headers) + repr(response.request.headers)
    ours = [headers for _, headers in server.requests]
    theirs = [headers for _, headers in other.requests]
    assert [target for target, _ in other.requests] == ["/there", "/direct"]
    assert all(
        headers["x-api-key"] == CANARY and headers["authorization"].startswith("Basic ") for headers in ours
    )
    assert all("x-api-key" not in headers and "authorization" not in headers for headers in theirs)
    assert all(headers["x-plain"] == "seen" for headers in theirs)
    assert CANARY not in caplog.text


async def test_a_callers_own_header_wins(server: Server) -> None:
    """A request that brings its own Authorization is sent with that one alone."""
    async with client(local(server, auth="bearer", password=Secret(CANARY))) as leased:
        await leased.get("/", headers={"Authorization": "mine"})
        await leased.get("/")
    assert [headers["authorization"] for _, headers in server.requests] == ["mine", f"Bearer {CANARY}"]


async def test_a_credential_no_header_may_have_is_refused_unquoted(server: Server) -> None:
    """A token with a line end is an error of create that does not hold it, not one of the first request that does."""
    provider = StaticCredentials({"api.token": f"{CANARY}\r\nX-Evil: 1"})
    config = local(server, auth="bearer", credential_key="api.token")
    with pytest.raises(ConfigurationError, match="no header may have") as caught:
        await HttpResource("api").create(config, ResourceContext(credentials=provider))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


async def test_an_environment_changes_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a proxy of the environment nor a .netrc has a say."""
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login app password {CANARY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with client(local(server)) as leased:
        assert (await leased.get("/")).status_code == 200
    assert "authorization" not in server.requests[0][1]


# ── the guard ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "0x7f000001",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ],
)
async def test_this_machine_is_out_of_reach(server: Server, host: str) -> None:
    """However it is written, this machine is refused by default, before anything is sent, as httpx's own error."""
    async with client(HttpConfig(base_url=f"http://{host}:{server.port}")) as leased:
        with pytest.raises(TargetRefused, match="may not reach") as caught:
            await leased.get("/")
    assert isinstance(caught.value, httpx.TransportError)
    assert host not in str(caught.value)
    assert server.connections == 0


async def test_private_addresses_can_be_opened(server: Server) -> None:
    """allow_private lets requests reach this machine, and still not the clouds' metadata."""
    async with client(HttpConfig(base_url=server.url, allow_private=True)) as leased:
        assert (await leased.get("/")).text == "ok"
        with pytest.raises(TargetRefused):
            await leased.get("http://169.254.169.254/latest/meta-data/")


async def test_a_name_is_resolved_once_and_its_checked_address_connected_to(server: Server) -> None:
    """The connection goes to the address that was checked; Host stays the name."""
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    async with client(
        local(server, base_url=f"http://service.test:{server.port}"), resolver=resolver
    ) as leased:
        assert (await leased.get("/")).text == "ok"
        assert (await leased.get("/")).text == "ok"
    assert asked == ["service.test"]
    assert server.requests[0][1]["host"] == f"service.test:{server.port}"


async def test_an_answer_that_changes_is_checked_again(server: Server) -> None:
    """A name that was harmless is refused when it resolves to something else at the next connection."""
    answers = iter(["127.0.0.1", "127.0.0.2"])

    async def resolver(host: str, port: int) -> list[str]:
        return [next(answers)]

    server.answers = {"/": "200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"}
    async with client(
        local(server, base_url=f"http://service.test:{server.port}"), resolver=resolver
    ) as leased:
        await leased.get("/")
        with pytest.raises(TargetRefused):
            await leased.get("/")
    assert len(server.requests) == 1


async def test_a_unix_socket_is_out_of_reach(tmp_path: Path) -> None:
    """A path has no address to be checked: it is refused whatever the policy allows, before anything is connected to."""
    path = str(tmp_path / "docker.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with pytest.raises(TargetRefused):
            await GuardedBackend(AddressPolicy(allow_private=True)).connect_unix_socket(path)
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


async def test_one_bad_address_refuses_the_name(server: Server) -> None:
    """A name with a good and a bad address is refused, whichever comes first."""
    for both in ("127.0.0.1 10.0.0.1", "10.0.0.1 127.0.0.1"):
        config = local(server, base_url=f"http://service.test:{server.port}")
        async with client(config, resolver=names(service_test=both)) as leased:
            with pytest.raises(TargetRefused):
                await leased.get("/")
    assert server.connections == 0


async def test_the_next_address_is_tried(server: Server) -> None:
    """Where one of several allowed addresses does not answer, the next does."""
    config = local(server, base_url=f"http://service.test:{server.port}", allow_private=True)
    resolver = names(service_test="127.0.0.9 127.0.0.1")
    async with client(config, resolver=resolver) as leased:
        assert (await leased.get("/")).text == "ok"
    async with client(config, resolver=names()) as leased:
        with pytest.raises(httpx.ConnectError, match="could not be resolved"):
            await leased.get("/")


async def test_a_resolver_that_hangs_counts_as_connecting(server: Server) -> None:
    """The connect timeout covers resolving."""

    async def resolver(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    config = local(server, base_url="http://service.test", connect_timeout=0.05)
    async with client(config, resolver=resolver) as leased:
        with pytest.raises(httpx.ConnectTimeout):
            await leased.get("/")


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/", "http://127.0.0.2:{port}/", "file:///etc/passwd"]
)
async def test_redirects_pass_the_same_way(server: Server, target: str) -> None:
    """Redirects are not followed unless asked for, and then each hop is checked like a first request."""
    where = target.format(port=server.port)
    server.answers = {"/": f"302 Found\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n"}
    async with client(local(server)) as leased:
        assert (await leased.get("/")).status_code == 302
    async with client(local(server, follow_redirects=True)) as leased:
        with pytest.raises((TargetRefused, httpx.UnsupportedProtocol)):
            await leased.get("/")
    assert [requested for requested, _ in server.requests] == ["/", "/"]


async def test_ports_and_names_can_be_narrowed(server: Server) -> None:
    """Requests reach the service's own port and the named ones, its own host and the named ones, and no others."""
    resolver = names(service_test="127.0.0.1", other_test="127.0.0.1", a_other_test="127.0.0.1")
    base = f"http://service.test:{server.port}"
    async with serving() as second:
        async with client(local(server, base_url=base), resolver=resolver) as leased:
            with pytest.raises(TargetRefused, match="this port"):
                await leased.get(f"http://service.test:{second.port}/")
            assert (await leased.get(f"http://other.test:{server.port}/")).text == "ok"
        for allowed, reached in (((), ()), (("other.test",), ("other",)), ((".other.test",), ("a.other",))):
            async with client(
                local(server, base_url=base, allowed_hosts=allowed), resolver=resolver
            ) as leased:
                assert (await leased.get("/")).text == "ok"
                for name in ("other", "a.other"):
                    url = f"http://{name}.test:{server.port}/"
                    if name in reached:
                        assert (await leased.get(url)).text == "ok"
                    else:
                        with pytest.raises(TargetRefused, match="this host"):
                            await leased.get(url)
    assert second.connections == 0


async def test_a_proxy_gets_what_is_named_alone(server: Server) -> None:
    """Through a proxy, which resolves names itself, requests go to named hosts; the login of the proxy is its own."""
    config = HttpConfig(
        base_url="http://service.test",
        proxy=Secret(f"http://u:{CANARY}@127.0.0.1:{server.port}"),
        allowed_hosts=(),
    )
    server.answers = {"http://service.test/x": "200 OK\r\nContent-Length: 5\r\n\r\nproxy"}
    async with client(config) as leased:
        assert (await leased.get("/x")).text == "proxy"
        with pytest.raises(TargetRefused, match="this host"):
            await leased.get("http://169.254.169.254/")
    [(target, headers)] = server.requests
    assert target == "http://service.test/x"
    assert headers["proxy-authorization"].startswith("Basic ")


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_name_is_verified_not_the_address() -> None:
    """Over a checked address TLS still names and verifies the host; another name, or unknown authorities, fail."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATES / "service.pem")
    seen: list[str | None] = []
    tls.sni_callback = lambda _, name, __: seen.append(name)
    resolver = names(service_test="127.0.0.1", other_test="127.0.0.1")
    async with serving(tls) as server:
        for name, trusted, works in (
            ("service.test", {"ca_file": CERTIFICATES / "ca.pem"}, True),
            ("service.test", {}, False),
            ("other.test", {"ca_file": CERTIFICATES / "ca.pem"}, False),
            ("other.test", {"verify": False}, True),
        ):
            config = local(server, base_url=f"https://{name}:{server.port}", **trusted)
            async with client(config, resolver=resolver) as leased:
                if works:
                    assert (await leased.get("/")).text == "ok"
                else:
                    with pytest.raises(httpx.ConnectError):
                        await leased.get("/")
    assert seen == ["service.test", "service.test", "other.test", "other.test"]


async def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    """With client_cert_file the server sees who asks; a file that is no certificate is refused without its name."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATES / "service.pem")
    tls.load_verify_locations(CERTIFICATES / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    async with serving(tls) as server:
        settings: dict[str, Any] = {
            "base_url": f"https://service.test:{server.port}",
            "ca_file": CERTIFICATES / "ca.pem",
        }
        resolver = names(service_test="127.0.0.1")
        config = local(server, **settings, client_cert_file=CERTIFICATES / "service.pem")
        async with client(config, resolver=resolver) as leased:
            assert (await leased.get("/")).text == "ok"
        async with client(local(server, **settings), resolver=resolver) as leased:
            with pytest.raises(httpx.TransportError):
                await leased.get("/")
        wrong = tmp_path / CANARY
        wrong.write_text("no certificate")
        with pytest.raises(ConfigurationError, match="cannot be used") as caught:
            await HttpResource("api").create(local(server, **settings, client_cert_file=wrong), CONTEXT)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


# ── health ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("200 OK\r\nContent-Length: 0\r\n\r\n", Healthy),
        ("204 No Content\r\n\r\n", Healthy),
        ("404 Not Found\r\nContent-Length: 0\r\n\r\n", Unhealthy),
        ("503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", Unhealthy),
        ("silence", Unhealthy),
    ],
)
async def test_health_is_what_the_health_path_answers(server: Server, answer: str, kind: type) -> None:
    """GET on the health path, below base_url: an answer below 400 is healthy; its status is told."""
    server.answers = {"/v1/health": answer}
    resource = HttpResource("api")
    config = local(server, base_url=f"{server.url}/v1", read_timeout=0.2)
    instance = await resource.create(config, CONTEXT)
    status = await resource.health_check(instance, CONTEXT)
    assert isinstance(status.state, kind)
    assert server.requests[0][0] == "/v1/health"
    if answer != "silence":
        assert status.metadata == {"status": int(answer[:3])}
    await resource.cleanup(instance)


async def test_a_service_that_is_away_is_unhealthy() -> None:
    """Nobody listening is Unhealthy, by the name of the error alone."""
    async with serving() as gone:
        pass
    resource = HttpResource("api")
    instance = await resource.create(local(gone), CONTEXT)
    status = await resource.health_check(instance, CONTEXT)
    assert status.state == Unhealthy("ConnectError")
    await resource.cleanup(instance)


async def test_an_expired_credential_ends_the_instance() -> None:
    """Connections whose credential has run out are not valid any more."""
    resource = HttpResource("api")
    for offset, valid in ((3600, True), (-1, False)):
        until = datetime.now(UTC) + timedelta(seconds=offset)
        provider = StaticCredentials({"api.token": Credential(Secret("t"), "1", until)})
        instance = await resource.create(
            HttpConfig(base_url="http://localhost", auth="bearer", credential_key="api.token", verify=False),
            ResourceContext(credentials=provider),
        )
        assert await resource.is_valid(instance) is valid
        await resource.cleanup(instance)
        assert resource.is_broken(instance)


async def test_a_pool_says_what_is_wrong(server: Server) -> None:
    """In a pool a wrong configuration fails the create with its violations as the cause."""
    pool = Pool(HttpResource("api"), HttpConfig(base_url=CANARY), SHARED)
    await pool.open()
    with pytest.raises(CreateFailed) as caught:
        await pool.acquire(CONTEXT)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    await pool.close()
