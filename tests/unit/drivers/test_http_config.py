"""HttpConfig: what is accepted, what is refused and how that is said, and that no text holds a secret."""

from typing import Any

import httpx
import pytest

from nebula_resource.drivers.http import HttpConfig, HttpResource, LoginInUrl, TargetRefused
from nebula_resource.drivers.http.resource import _secret_headers
from nebula_resource.drivers.http.transport import origin_of
from nebula_resource.errors import MissingCredential, ValidationFailed
from nebula_resource.model.config import Secret, redacted, validate_config
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.credentials import StaticCredentials

CANARY = "kanarie-5f1c"


def fields(**settings: Any) -> list[str]:
    """Return the fields that the resource finds wrong; their texts hold no secret."""
    given: dict[str, Any] = {"base_url": "https://api.example.com/v1", **settings}
    config = HttpConfig(**given)
    found = list(HttpResource("api").validate_config(config))
    assert CANARY not in str(found)
    return [each.field for each in found]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"base_url": "http://localhost:8080"},
        {"user": "u", "password": "p"},
        {"auth": "bearer", "credential_key": "api.token"},
        {"headers": {"X-Api-Key": "k", "Accept": "application/json"}},
        {"proxy": f"http://u:{CANARY}@proxy:3128", "allowed_hosts": ()},
        {"allowed_networks": ("10.0.0.0/8", "fd00::/64"), "allowed_ports": (8080,)},
    ],
)
def test_sound_settings_are_accepted(settings: dict[str, Any]) -> None:
    """Each documented combination has nothing wrong with it."""
    assert fields(**settings) == []


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"base_url": CANARY}, ["base_url"]),
        ({"base_url": f"ftp://{CANARY}/"}, ["base_url"]),
        ({"base_url": "https://"}, ["base_url"]),
        ({"base_url": f"https://{CANARY}:port/"}, ["base_url"]),
        ({"base_url": f"https://api.example.com/?key={CANARY}"}, ["base_url"]),
        ({"base_url": f"https://u:{CANARY}@api.example.com", "user": "u"}, ["base_url"]),
        ({"health_path": "health"}, ["health_path"]),
        ({"health_path": "//elsewhere/health"}, ["health_path"]),
        ({"user": "u", "user_credential_key": "api.user"}, ["user"]),
        ({"password": CANARY, "credential_key": "api.password"}, ["password"]),
        ({"auth": "bearer", "user": "u", "password": CANARY}, ["user"]),
        ({"auth": "bearer", "password": f"{CANARY}\r\nX: y"}, ["password"]),
        ({"headers": {f"X-{CANARY}\n": "x"}}, ["headers.0"]),
        ({"headers": {"X-Token": f"{CANARY}\r\nX: y"}}, ["headers.X-Token"]),
        ({"headers": {"Authorization": CANARY}, "user": "u"}, ["headers.Authorization"]),
        ({"ca_file": f"/nowhere/{CANARY}"}, ["ca_file"]),
        ({"client_key_file": __file__}, ["client_cert_file"]),
        ({"ca_file": __file__, "verify": False}, ["ca_file"]),
        ({"proxy": CANARY, "allowed_hosts": ()}, ["proxy"]),
        ({"proxy": "http://proxy:3128"}, ["allowed_hosts"]),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], wrong: list[str]) -> None:
    """Each mistake is one violation at its field, without the value."""
    assert fields(**settings) == wrong


@pytest.mark.parametrize(
    "wrong", [{"read_timeout": 0}, {"allowed_ports": (0,)}, {"allowed_networks": (f"{CANARY}/8",)}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    """A mapping with a bad value is refused with the field's name, without the value."""
    with pytest.raises(ValidationFailed) as caught:
        validate_config(HttpConfig, {"base_url": "https://api.example.com", **wrong})
    assert all(each.field.startswith(tuple(wrong)) for each in caught.value.violations)
    assert CANARY not in str(caught.value)


def test_a_login_in_the_url_is_taken_out_with_a_warning() -> None:
    """User and password leave the URL for their own fields; validated again, nothing changes and nobody is warned."""
    with pytest.warns(LoginInUrl) as warned:
        config = HttpConfig(base_url=f"https://app:{CANARY}%40@api.example.com:8443/v1")
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert config.base_url == "https://api.example.com:8443/v1"
    assert config.user == Secret("app")
    assert config.password == Secret(f"{CANARY}@")
    assert validate_config(HttpConfig, config) == config


def test_a_configuration_shows_no_secret() -> None:
    """Neither repr, nor the redacted form, nor JSON holds a login, a secret header or the proxy's."""
    config = HttpConfig(
        base_url="https://api.example.com",
        user=Secret(f"u{CANARY}"),
        password=Secret(CANARY),
        headers={"X-Api-Key": CANARY, "Cookie": f"session={CANARY}", "X-Other": Secret(CANARY)},
        proxy=Secret(f"http://u:{CANARY}@proxy:1"),
        client_key_password=Secret(CANARY),
    )
    for text in (repr(config), str(redacted(config)), config.model_dump_json(), str(config.headers)):
        assert CANARY not in text


# ── what is made of it ────────────────────────────────────────────────────────────────────────────────────────────


async def made_headers(credentials: StaticCredentials, **settings: Any) -> dict[str, str]:
    """Return the headers that carry secrets."""
    config = HttpConfig(base_url="https://api.example.com", **settings)
    found = await HttpResource("api")._credentials(config, ResourceContext(credentials=credentials))
    return _secret_headers(config, found)


async def test_logins_become_headers() -> None:
    """Basic and bearer, from fields or from the provider, end as the Authorization that the service expects."""
    provider = StaticCredentials({"api.user": "app", "api.password": "pä", "api.token": "t0"})
    basic = await made_headers(provider, user_credential_key="api.user", credential_key="api.password")
    assert httpx.BasicAuth("app", "pä")._auth_header == basic["Authorization"]
    assert await made_headers(provider, auth="bearer", credential_key="api.token") == {
        "Authorization": "Bearer t0"
    }
    assert await made_headers(provider, auth="bearer", password=Secret("t1")) == {
        "Authorization": "Bearer t1"
    }
    assert await made_headers(provider, headers={"X-Token": "x", "Accept": "y"}) == {"X-Token": "x"}
    assert await made_headers(provider) == {}


async def test_a_missing_credential_is_named() -> None:
    """Without a provider, or with one that lacks it, the error names the credential."""
    config = HttpConfig(base_url="https://api.example.com", credential_key="api.password")
    resource = HttpResource("api")
    for context in (ResourceContext(), ResourceContext(credentials=StaticCredentials())):
        with pytest.raises(MissingCredential, match=r"'api\.password'"):
            await resource._credentials(config, context)
    assert resource.credential_keys == ("api.password",)


def test_whose_fault_an_error_is() -> None:
    """The service's own failures count; other hosts', refused targets and a full client do not."""
    resource = HttpResource("api")
    resource._origins.add(origin_of(httpx.URL("https://api.example.com")))
    ours, other = (
        httpx.Request("GET", "https://API.example.com:443/x"),
        httpx.Request("GET", "https://other.example.com"),
    )
    assert resource.is_fault(httpx.ConnectError("x", request=ours))
    assert resource.is_fault(httpx.ReadTimeout("x", request=ours))
    assert resource.is_fault(ExceptionGroup("x", [ValueError(), httpx.ReadError("x", request=ours)]))
    assert resource.is_fault(httpx.HTTPStatusError("x", request=ours, response=httpx.Response(503)))
    wrapped = RuntimeError()
    wrapped.__cause__ = httpx.ConnectError("x", request=ours)
    assert resource.is_fault(wrapped)
    for error in (
        httpx.ConnectError("x", request=other),
        httpx.ConnectError("x"),
        httpx.PoolTimeout("x", request=ours),
        TargetRefused("x", request=ours),
        httpx.HTTPStatusError("x", request=ours, response=httpx.Response(404)),
        httpx.HTTPStatusError("x", request=other, response=httpx.Response(503)),
        ValueError(),
    ):
        assert not resource.is_fault(error)


async def test_create_refuses_what_register_would_have() -> None:
    """A pool used without a manager validates too."""
    with pytest.raises(ValidationFailed, match="base_url"):
        await HttpResource("api").create(HttpConfig(base_url="nonsense"), ResourceContext())
