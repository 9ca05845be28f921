"""Secrets in what a check says: masked however they are written, and nothing else touched."""

import base64
import json
from collections.abc import Callable, Mapping
from urllib.parse import quote, quote_plus

import pytest
from pydantic import Field, SecretBytes

from nebula_resource import ResourceConfig, Secret
from nebula_resource.model.censor import censored
from nebula_resource.model.config_display import MASK
from nebula_resource.model.health import Degraded, HealthState, HealthStatus, Unhealthy

PASSWORD = "hünd/5@+x"


class Inner(ResourceConfig):
    """A part of a configuration."""

    token: Secret = Secret("inner-token")
    raw: SecretBytes = SecretBytes(b"raw-bytes")


class Config(ResourceConfig):
    """Secrets at every depth."""

    host: str = "db.internal"
    dsn: Secret = Secret(
        f"postgresql://anna:{quote(PASSWORD, safe='')}@h/d?sslmode=require&sslpassword=tls-word"
    )
    line: Secret = Secret("host=h password='lib pq' user=anna")
    pin: Secret = Secret("12")
    odd: Secret = Secret("http://[nonsense")
    inner: Inner = Inner()
    headers: Mapping[str, Secret] = Field(default_factory=lambda: {"X-Api-Key": Secret("head-value")})
    several: tuple[Secret, ...] = (Secret("one-of-many"),)


SPELLINGS = [
    PASSWORD,
    quote(PASSWORD, safe=""),
    quote_plus(PASSWORD),
    json.dumps(PASSWORD)[1:-1],
    base64.b64encode(PASSWORD.encode()).decode(),
    base64.urlsafe_b64encode(PASSWORD.encode()).decode(),
    Config().dsn.get_secret_value(),
    "tls-word",
    "lib pq",
    "inner-token",
    "raw-bytes",
    "head-value",
    "one-of-many",
    "http://[nonsense",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("make", [HealthState.unhealthy, HealthState.degraded], ids=["unhealthy", "degraded"])
def test_a_secret_of_the_configuration_is_masked(make: Callable[[str], HealthState], spelling: str) -> None:
    """In the reason and at every depth of the metadata; the rest of the text stays."""
    given = HealthStatus(
        make(f"before {spelling} after"),
        0.5,
        {"a": spelling, "b": [spelling, {"c": (spelling, 7)}], "d": Secret(spelling)},
    )
    found = censored(given, Config())
    assert found.state.because == f"before {MASK} after"
    assert found.metadata == {"a": MASK, "b": [MASK, {"c": [MASK, 7]}], "d": MASK}
    assert (found.latency_s, found.checked_at, type(found.state)) == (
        0.5,
        given.checked_at,
        type(given.state),
    )


class Lone(ResourceConfig):
    """A secret that stands in no URL of the configuration."""

    token: Secret = Secret(f"{PASSWORD} &")


@pytest.mark.parametrize(
    "spell",
    [
        str,
        lambda secret: quote(secret, safe=""),
        quote,
        quote_plus,
        lambda secret: json.dumps(secret)[1:-1],
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    ],
    ids=["plain", "URL", "URL path", "form", "JSON", "base64", "base64 for URLs"],
)
def test_each_spelling_of_a_secret_is_masked_by_itself(spell: Callable[[str], str]) -> None:
    """No other spelling, and no URL that holds it, hides that one is missing."""
    spelling = spell(Lone().token.get_secret_value())
    assert censored(HealthStatus(Unhealthy(f"<{spelling}>")), Lone()).state.because == f"<{MASK}>"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no answer from https://anna:dog@host/x", f"no answer from https://{MASK}@host/x"),
        ("got api_key=abc, gave up", f"got api_key={MASK}, gave up"),
        ("password = 'a b' host=h", f"password = {MASK} host=h"),
        ("a?token=x&page=2", f"a?token={MASK}&page=2"),
    ],
)
def test_what_looks_secret_is_masked_though_nobody_configured_it(said: str, told: str) -> None:
    """A credential that came from a provider is in no configuration."""
    assert censored(HealthStatus(Unhealthy(said)), None).state.because == told


def test_what_is_no_secret_stays() -> None:
    """Hosts, numbers and short words; how bad it is; a status that says nothing is passed on as it is."""
    well = HealthStatus.healthy()
    assert censored(well, Config()) is well
    state = Degraded("db.internal lags 12 s, limit=5 of 12", 0.25)
    found = censored(HealthStatus(state, metadata={"lag": 12.5, "host": "db.internal"}), Config())
    assert found.state == state
    assert found.metadata == {"lag": 12.5, "host": "db.internal"}
    assert censored(HealthStatus(Unhealthy("gone", recoverable=False)), Config()).state == Unhealthy(
        "gone", recoverable=False
    )
    assert censored(HealthStatus.healthy(metadata={"backend": "sqlite"}), Config()).metadata == {
        "backend": "sqlite"
    }


class Speechless:
    """Something that cannot even be written."""

    def __str__(self) -> str:
        raise RuntimeError(PASSWORD)


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({f"postgresql://anna:{PASSWORD}@h": "up"}, {f"postgresql://{MASK}@h": "up"}),
        ({"by key": {PASSWORD: 1}}, {"by key": {MASK: 1}}),
        ({"raw": PASSWORD.encode()}, {"raw": MASK}),
        ({"seen": {PASSWORD}}, {"seen": [MASK]}),
        ({"error": RuntimeError(f"no {PASSWORD}")}, {"error": f"no {MASK}"}),
        ({"odd": Speechless()}, {"odd": "Speechless"}),
        ({"plain": [None, True, 3, 0.5]}, {"plain": [None, True, 3, 0.5]}),
    ],
    ids=["key", "nested key", "bytes", "set", "error", "speechless", "plain"],
)
def test_what_is_no_text_is_censored_too(held: Mapping[str, object], told: Mapping[str, object]) -> None:
    """A key, bytes, a set, an error: each would be written out somewhere, and then as it is."""
    status = censored(HealthStatus.healthy(metadata=held), Config())
    assert status.metadata == told
    json.dumps(status.metadata)
