"""Auth: keys, roles, tenants, sessions: who may do what, and that nobody learns of another tenant."""

import asyncio
import hmac
import json
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import httpx
import pytest
from fastapi.routing import APIRoute

from nebula_resource.admin import Key, KeyFile, KeyList, Role, create_admin
from nebula_resource.admin.auth import key as key_module
from nebula_resource.admin.auth import key_source
from nebula_resource.admin.auth.needs import needs_of
from nebula_resource.errors import ConfigurationError
from nebula_resource.manager import Manager
from tests.app.admin_world import World, admin_world, keys_of

ROLES = ("metrics", "viewer", "operator", "admin")

MATRIX = {
    ("DELETE", "/operations/{op}"): "operator",
    ("DELETE", "/session"): "metrics",
    ("GET", "/"): None,
    ("GET", "/audit"): "admin unbound",
    ("GET", "/config"): "admin unbound",
    ("GET", "/dependencies"): "viewer",
    ("GET", "/events"): "viewer",
    ("GET", "/health"): None,
    ("GET", "/health/groups/{name}"): None,
    ("GET", "/health/live"): None,
    ("GET", "/health/ready"): None,
    ("GET", "/health/startup"): None,
    ("GET", "/metrics"): "metrics unbound",
    ("GET", "/openapi.json"): "metrics",
    ("GET", "/operations/{op}"): "operator",
    ("GET", "/pools"): "viewer",
    ("GET", "/pools/{id}"): "viewer",
    ("GET", "/pools/{id}/instances"): "viewer",
    ("GET", "/quarantine"): "viewer",
    ("GET", "/quarantine/{id}"): "viewer",
    ("GET", "/resources"): "viewer",
    ("GET", "/resources/{id}"): "viewer",
    ("GET", "/scopes"): "viewer",
    ("GET", "/scopes/{id}"): "viewer",
    ("GET", "/ui/{name}"): None,
    ("GET", "/whoami"): "metrics",
    ("POST", "/config/reload"): "admin unbound",
    ("POST", "/pools/{id}/drain"): "operator",
    ("POST", "/pools/{id}/recycle"): "operator",
    ("POST", "/pools/{id}/resize"): "operator",
    ("POST", "/pools/{id}/resume"): "operator",
    ("POST", "/pools/{id}/suspend"): "operator",
    ("POST", "/quarantine"): "operator",
    ("POST", "/quarantine/{id}/release"): "operator",
    ("POST", "/resources/{id}/check"): "operator",
    ("POST", "/session"): None,
}
"""Every route and the least role that may call it. A route that is not here fails the tests."""


class Keyed(NamedTuple):
    """A world with keys, and the headers that show each."""

    world: World
    headers: dict[str, dict[str, str]]


@pytest.fixture
async def keyed() -> AsyncGenerator[Keyed]:
    """One key of each role, and one of each role bound to acme, globex; pools of both and of nobody."""
    names = {role: (role, None) for role in ROLES}
    bound = {f"{tenant}_{role}": (role, tenant) for role in ROLES for tenant in ("acme", "globex")}
    keys, headers = keys_of(**names, **bound)
    async with admin_world(auth=keys) as world:
        await world.add("db", required=True)
        await world.add("orders", tenant="acme")
        await world.add("orders", tenant="globex")
        yield Keyed(world, headers)


def test_the_matrix_is_what_the_routes_declare() -> None:
    """Each route declares exactly one role, the one that is written down here."""

    async def look() -> dict[tuple[str, str], str | None]:
        found: dict[tuple[str, str], str | None] = {}
        for route in create_admin(Manager()).routes:
            assert isinstance(route, APIRoute), "nothing is mounted beside the routes"
            (needs,) = needs_of(route)
            label = None if needs.role is None else needs.role.label + (" unbound" if needs.unbound else "")
            for method in route.methods or ():
                found[method, route.path] = label
        return found

    assert asyncio.run(look()) == MATRIX


@pytest.mark.parametrize(("route", "least"), MATRIX.items(), ids=str)
async def test_every_route_with_every_role(keyed: Keyed, route: tuple[str, str], least: str | None) -> None:
    """Nobody: 401; a lesser role, or a bound key where it may not: 403; the role and those above it get through."""
    method, template = route
    path = template.format(id="db", op="op_none", name="main.js")
    needed = None if least is None else Role.parse(least.split()[0])
    options: dict[str, object] = {"json": {}} if method == "POST" else {}
    shown: dict[str, dict[str, str]] = {"nobody": {}} | keyed.headers
    for name, headers in shown.items():
        response = await keyed.world.send(method, path, headers=headers, **options)
        status = response.status_code
        if needed is None:
            assert status not in {401, 403} or path == "/session", name
        elif name == "nobody":
            assert status == 401, name
            assert response.headers["www-authenticate"].startswith("Bearer")
        elif Role.parse(name.rpartition("_")[2]) < needed or ("unbound" in (least or "") and "_" in name):
            assert status == 403, name
        else:
            assert status not in {401, 403}, name


@pytest.mark.parametrize(
    "value",
    [
        "Bearer nbk_x",
        "Bearer ",
        "Basic YTpi",
        "bearer",
        "Bearer nbk_0123456789ab_" + "x" * 43,
        "Bearer " + "x" * 5000,
    ],
)
async def test_wrong_keys_are_nobody(keyed: Keyed, value: str) -> None:
    """401, and the key is not told back."""
    response = await keyed.world.send("GET", "/pools", headers={"Authorization": value})
    assert response.status_code == 401
    assert "nbk_" not in response.text


async def test_a_right_id_with_a_wrong_secret_is_nobody(keyed: Keyed) -> None:
    """The id alone opens nothing."""
    shown = keyed.headers["admin"]["Authorization"]
    changed = shown[:-1] + ("A" if shown[-1] != "A" else "B")
    assert (await keyed.world.send("GET", "/pools", headers={"Authorization": changed})).status_code == 401


async def test_an_address_that_guesses_waits(keyed: Keyed) -> None:
    """After five wrong keys in a second: 429 with Retry-After; a right key from there passes, key or session."""
    wrong = {"Authorization": "Bearer nbk_0000_" + "x" * 43}
    answers = [await keyed.world.send("GET", "/pools", headers=wrong) for _ in range(6)]
    assert [each.status_code for each in answers] == [401] * 5 + [429]
    assert answers[-1].headers["retry-after"] == "1"
    assert (await keyed.world.send("GET", "/pools", headers=keyed.headers["admin"])).status_code == 200
    again = await keyed.world.send("GET", "/pools", headers=wrong)
    assert again.status_code == 429  # what passed in between makes no guesser new
    changes = await sign_in(keyed, "operator")
    body = {"resource_id": "db", "reason": "x"}
    await keyed.world.post("/quarantine", body, status=201, headers=changes)


@pytest.mark.parametrize("shown", ["right", "wrong secret", "unknown id", "no key at all"])
async def test_every_key_is_compared_once_and_alike(
    keyed: Keyed, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is shown, one digest is compared with one of equal length, in constant time: how long tells nothing."""
    right = keyed.headers["viewer"]["Authorization"]
    value = {
        "right": right,
        "wrong secret": right[:-1] + ("A" if right[-1] != "A" else "B"),
        "unknown id": "Bearer nbk_0000_" + "x" * 43,
        "no key at all": "Bearer x",
    }[shown]
    compared: list[tuple[int, int]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(key_module, "hmac", SimpleNamespace(compare_digest=compare))
    response = await keyed.world.send("GET", "/pools", headers={"Authorization": value})
    assert response.status_code == (200 if shown == "right" else 401)
    assert compared == [(64, 64)]


async def test_a_key_ends_at_its_time() -> None:
    """A key of yesterday is nobody's."""
    old, kept = Key.mint("admin", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    async with admin_world(auth=KeyList([kept])) as world:
        await world.get("/pools", status=401, headers={"Authorization": f"Bearer {old}"})


def test_a_key_does_not_show_its_secret() -> None:
    """Neither the kept key nor its digest stands in a repr."""
    text, kept = Key.mint("viewer")
    secret = text.rpartition("_")[2]
    assert secret not in repr(kept)
    assert kept.digest not in repr(kept)
    assert kept.opens_with(text.split("_", 2)[2])


# ── key files ──


def entry_of(key: Key, **more: str) -> str:
    """A key as it stands in a file."""
    lines = [f"[keys.{key.id}]", f'digest = "{key.digest}"', f'role = "{key.role.label}"']
    return "\n".join([*lines, *(f'{name} = "{value}"' for name, value in more.items())]) + "\n"


async def test_a_key_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """A revoked key is 401 at once, a new one is known at once, a broken file leaves all as it was."""
    first_text, first = Key.mint("viewer")
    second_text, second = Key.mint("viewer")
    path = tmp_path / "keys.toml"
    path.write_text(entry_of(first))
    async with admin_world(auth=KeyFile(path)) as world:
        with_first = {"Authorization": f"Bearer {first_text}"}
        with_second = {"Authorization": f"Bearer {second_text}"}
        await world.get("/pools", headers=with_first)
        await world.get("/pools", status=401, headers=with_second)
        path.write_text(entry_of(second, name="on call"))
        await world.get("/pools", status=401, headers=with_first)
        assert (await world.get("/whoami", headers=with_second))["name"] == "on call"
        path.write_text("[keys")
        await world.get("/pools", headers=with_second)
        path.unlink()
        await world.get("/pools", headers=with_second)


async def test_a_key_that_was_exchanged_in_place_is_revoked(tmp_path: Path) -> None:
    """Copied over it with its old time of writing, as `rsync --inplace --times` does: the same size, file and time."""
    text, first = Key.mint("viewer")
    path = tmp_path / "keys.toml"
    path.write_text(entry_of(first))
    shown = {"Authorization": f"Bearer {text}"}
    async with admin_world(auth=KeyFile(path)) as world:
        await world.get("/pools", headers=shown)
        written = path.stat()
        path.write_text(entry_of(replace(first, digest=Key.mint("viewer")[1].digest)))
        os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))
        now = path.stat()
        assert (now.st_size, now.st_ino, now.st_mtime_ns) == (
            written.st_size,
            written.st_ino,
            written.st_mtime_ns,
        )
        await world.get("/pools", status=401, headers=shown)


async def test_a_file_that_could_not_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No descriptor was free, or no right, when a key was revoked: that comes back and the file stays as it is."""
    text, first = Key.mint("viewer")
    _, second = Key.mint("viewer")
    path = tmp_path / "keys.toml"
    path.write_text(entry_of(first))
    shown = {"Authorization": f"Bearer {text}"}

    failures = iter((PermissionError(), PermissionError(), OSError(24, "Too many open files")))

    def refuse(*_: object) -> bytes:
        raise next(failures)

    async with admin_world(auth=KeyFile(path)) as world:
        path.write_text(entry_of(second))
        with monkeypatch.context() as patched:
            patched.setattr(key_source, "read_plain", refuse)
            for _ in range(3):
                await world.get("/pools", headers=shown)
        await world.get("/pools", status=401, headers=shown)
        because = [vars(each)["because"] for each in caplog.records if "key file" in each.getMessage()]
        assert because == [
            "the key file may not be read by this user",
            "the key file cannot be read (OSError)",
        ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[keys]",
        "x = 1",
        "[keys.a]\nrole = 'admin'",
        "[keys.a]\ndigest = 'short'\nrole = 'admin'",
        f"[keys.a]\ndigest = '{'0' * 64}'\nrole = 'root'",
        f"[keys.a]\ndigest = '{'0' * 64}'\nrole = 7",
        f"[keys.a]\ndigest = '{'0' * 64}'\nrole = 'admin'\nmore = 1",
        f"[keys.a]\ndigest = '{'0' * 64}'\nrole = 'admin'\nexpires_at = 'soon'",
        f"[keys.a]\ndigest = '{'0' * 64}'\nrole = 'admin'\nexpires_at = 2027-01-01T00:00:00",
    ],
)
def test_a_key_file_that_cannot_be_read_stops_the_start(tmp_path: Path, text: str) -> None:
    """ConfigurationError that names the place and no value."""
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        KeyFile(path)
    assert "0" * 64 not in caught.value.message


def test_lists_of_keys_are_checked(tmp_path: Path) -> None:
    """No key, an id twice, a file that is not there."""
    _, key = Key.mint("admin")
    with pytest.raises(ConfigurationError):
        KeyList([])
    with pytest.raises(ConfigurationError):
        KeyList([key, key])
    with pytest.raises(ConfigurationError):
        KeyFile(tmp_path / "absent.toml")


# ── tenants ──


async def test_a_bound_key_sees_its_tenant_alone(keyed: Keyed) -> None:
    """Lists, single things, the graph, history: nothing of another tenant, not even a number."""
    world, headers = keyed
    mine, theirs = headers["acme_operator"], headers["globex_operator"]
    other = (await world.get("/pools", headers=theirs))["items"][0]
    await world.post(
        "/quarantine", {"resource_id": other["id"], "reason": "globex-only"}, status=201, headers=theirs
    )
    paths = ["/pools", "/resources", "/dependencies", "/quarantine", "/events", "/health", "/whoami"]
    for path in paths:
        response = await world.send("GET", path, headers=mine)
        assert response.status_code == 200
        seen = response.text + str(response.headers)
        for canary in ("globex", other["id"], other["scope"]["id"]):
            assert canary not in seen, path
    assert [each["seq"] for each in (await world.get("/events", headers=mine))["items"]] == [1]


async def test_neighbours_that_a_key_may_not_see_are_left_out(keyed: Keyed) -> None:
    """What a tenant's resource needs of nobody's in particular, and who of another tenant needs the tenant's own."""
    world, headers = keyed
    cart = await world.add("cart", "db", tenant="acme")
    for path in ("/resources", f"/resources/{cart}"):
        whole = await world.get(path, headers=headers["viewer"])
        own = await world.get(path, headers=headers["acme_viewer"])
        found = [each for each in whole.get("items", [whole]) if each["id"] == cart]
        assert [each["dependencies"] for each in found] == [["db"]]
        found = [each for each in own.get("items", [own]) if each["id"] == cart]
        assert [each["dependencies"] for each in found] == [[]]
    assert (await world.get("/resources/db", headers=headers["viewer"]))["dependents"] == [cart]


async def test_what_is_foreign_answers_like_what_is_unknown(keyed: Keyed) -> None:
    """The same status and the same body, byte for byte but for the request's number."""
    world, headers = keyed
    other = (await world.get("/pools", headers=headers["globex_viewer"]))["items"][0]["id"]
    for method, template in MATRIX:
        if "{id}" not in template:
            continue
        answers = []
        for name in (other, "nothing~aaaaaaaaaa"):
            options: dict[str, object] = {"json": {"reason": "x"} if method == "POST" else None}
            response = await world.send(
                method,
                template.format(id=name),
                headers={**headers["acme_operator"], "If-Match": "*"},
                **options,
            )
            body = response.json()
            body.pop("instance")
            answers.append((response.status_code, body))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    for name in (other, "nothing~aaaaaaaaaa"):
        body = {"resource_id": name, "reason": "x"}
        await world.post("/quarantine", body, status=404, headers=headers["acme_operator"])


async def test_a_bound_keys_own_id_is_not_ambiguous(keyed: Keyed) -> None:
    """'orders' is one for a tenant, and two for who sees both."""
    world, headers = keyed
    assert (await world.get("/pools/orders", headers=headers["acme_viewer"]))["scope"]["label"] == "acme"
    await world.get("/pools/orders", status=409, headers=headers["viewer"])


async def test_the_bare_health_tells_no_names(keyed: Keyed) -> None:
    """Without a key, or with one for metrics, /health is one word."""
    world, headers = keyed
    for shown in ({}, headers["metrics"]):
        assert await world.get("/health", headers=shown) == {"status": "up"}
    assert "checks" in await world.get("/health", headers=headers["viewer"])


async def test_another_principals_idempotency_key_is_another(keyed: Keyed) -> None:
    """B that sends A's key gets no answer of A's."""
    world, headers = keyed
    key = {"Idempotency-Key": "same"}
    body = {"resource_id": "orders", "reason": "x"}
    first = await world.send("POST", "/quarantine", json=body, headers=headers["acme_operator"] | key)
    second = await world.send("POST", "/quarantine", json=body, headers=headers["globex_operator"] | key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]
    refused = await world.send("POST", "/quarantine", json=body, headers=headers["acme_viewer"] | key)
    assert refused.status_code == 403


# ── other machines ──


async def test_with_keys_other_machines_are_served(keyed: Keyed) -> None:
    """A peer from elsewhere with a key, proxied or not."""
    transport = httpx.ASGITransport(keyed.world.app, client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        shown = {**keyed.headers["viewer"], "X-Forwarded-For": "198.51.100.1"}
        assert (await http.get("/pools", headers=shown)).status_code == 200
        assert (await http.get("/pools")).status_code == 401


# ── sessions ──


async def sign_in(keyed: Keyed, role: str) -> dict[str, str]:
    """Sign in with a key; the client keeps the cookie. Returns the headers that changes need."""
    key = keyed.headers[role]["Authorization"].removeprefix("Bearer ")
    response = await keyed.world.send("POST", "/session", json={"key": key})
    assert response.status_code == 204
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert key not in cookie
    who = await keyed.world.get("/whoami")
    return {"X-Nebula-Csrf": who["csrf"]}


async def test_a_browser_signs_in_and_out(keyed: Keyed) -> None:
    """The cookie reads; changes need the session's token too; after signing out it opens nothing."""
    world = keyed.world
    changes = await sign_in(keyed, "operator")
    await world.get("/pools")
    body = {"resource_id": "db", "reason": "x"}
    assert (await world.post("/quarantine", body, status=403))["code"] == "csrf"
    await world.post("/quarantine", body, status=403, headers={"X-Nebula-Csrf": "wrong"})
    await world.post("/quarantine", body, status=201, headers=changes)
    cookie = dict(world.http.cookies)
    await world.ask("DELETE", "/session", status=204, headers=changes)
    await world.get("/pools", status=401)
    world.http.cookies.update(cookie)
    await world.get("/pools", status=401)


async def test_deleting_needs_the_session_s_token_as_well(keyed: Keyed) -> None:
    """A page of others that makes a browser send the cookie signs nobody out, and stops nothing."""
    world = keyed.world
    changes = await sign_in(keyed, "operator")
    for path in ("/session", "/operations/op_none"):
        assert (await world.ask("DELETE", path, status=403))["code"] == "csrf"
    await world.get("/pools")
    await world.ask("DELETE", "/session", status=204, headers=changes)


async def test_a_session_lives_on_with_what_is_done_in_it(keyed: Keyed) -> None:
    """It is idle from its last request on."""
    await sign_in(keyed, "viewer")
    (session,) = keyed.world.app.state.admin.authority.sessions._sessions.values()
    session.used -= 60.0
    before = session.used
    await keyed.world.get("/pools")
    assert session.used >= before + 60.0


async def test_each_sign_in_has_a_cookie_of_its_own(keyed: Keyed) -> None:
    """A cookie that somebody planted before is not taken over."""
    world = keyed.world
    world.http.cookies.set("nebula_session", "planted", domain="localhost.local", path="/")
    await sign_in(keyed, "viewer")
    first = world.http.cookies.get("nebula_session", domain="localhost.local")
    await sign_in(keyed, "viewer")
    second = world.http.cookies.get("nebula_session", domain="localhost.local")
    assert len({first, second, "planted"}) == 3
    # Whoever reads the process's memory of them learns no cookie.
    kept = world.app.state.admin.authority.sessions._sessions
    assert (len(kept), {first, second} & kept.keys()) == (2, set())


async def test_wrong_keys_sign_nobody_in(keyed: Keyed) -> None:
    """401 and no cookie; 422 for what is no key at all; guessing has its limit."""
    for _ in range(5):
        response = await keyed.world.send("POST", "/session", json={"key": "nbk_guess"})
        assert response.status_code == 401
        assert "set-cookie" not in response.headers
    assert (await keyed.world.send("POST", "/session", json={"key": "nbk_guess"})).status_code == 429
    assert (await keyed.world.send("GET", "/whoami")).status_code == 401
    await sign_in(keyed, "viewer")


async def test_a_session_ends_with_its_key(tmp_path: Path) -> None:
    """The key is revoked: the cookie is nobody's."""
    text, first = Key.mint("viewer")
    _, second = Key.mint("viewer")
    path = tmp_path / "keys.toml"
    path.write_text(entry_of(first))
    async with admin_world(auth=KeyFile(path)) as world:
        await world.send("POST", "/session", json={"key": text})
        await world.get("/pools")
        path.write_text(entry_of(second))
        await world.get("/pools", status=401)


async def test_a_session_ends_when_its_key_does() -> None:
    """The key's time is over in the middle of a session: the cookie is nobody's from then on."""
    text, kept = Key.mint("viewer", expires_at=datetime.now(UTC) + timedelta(hours=1))
    keys = KeyList([kept])
    async with admin_world(auth=keys) as world:
        await world.send("POST", "/session", json={"key": text})
        await world.get("/pools")
        keys._keys[kept.id] = replace(kept, expires_at=datetime.now(UTC) - timedelta(seconds=1))
        await world.get("/pools", status=401)
        assert (await world.send("GET", "/whoami")).status_code == 401


async def test_over_tls_the_cookie_is_bound_to_its_host(keyed: Keyed) -> None:
    """__Host- and Secure."""
    key = keyed.headers["viewer"]["Authorization"].removeprefix("Bearer ")
    response = await keyed.world.http.post("https://localhost/session", json={"key": key})
    assert response.headers["set-cookie"].startswith("__Host-nebula=")
    assert "secure" in response.headers["set-cookie"].lower()


async def test_without_keys_there_is_nothing_to_sign_in_to() -> None:
    """409, and whoami says that everybody here is local."""
    async with admin_world() as world:
        await world.post("/session", {"key": "x"}, status=409)
        await world.ask("DELETE", "/session", status=409)
        who = await world.get("/whoami")
        assert (who["local"], who["role"], who["csrf"]) == (True, "admin", None)


def test_the_matrix_is_sorted() -> None:
    """So that a new route has one place."""
    assert json.dumps(list(MATRIX)) == json.dumps(sorted(MATRIX))
