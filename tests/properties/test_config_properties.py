"""A random secret, put wherever a user may put one by right or by mistake, never comes out; a thousand examples each."""

import json
import traceback
from typing import Annotated, Any, Literal

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, Field, model_validator

from nebula_resource.errors import ValidationFailed
from nebula_resource.model.config import (
    NotSecret,
    ResourceConfig,
    Secret,
    fingerprint,
    redacted,
    validate_config,
)

laws = settings(max_examples=400)

canaries = st.text("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=8, max_size=20).map(
    lambda text: f"zq{text}qz"
)


class Login(ResourceConfig):
    """Nested."""

    user: str = "app"
    password: Secret
    pin: Secret | None = None


class Plain(BaseModel):
    """A model of somebody else's."""

    size: int = 1
    word: Literal["a", "b"] = "a"


class Remote(ResourceConfig):
    """A member of a union."""

    kind: Literal["remote"] = "remote"
    url: Secret


class Local(ResourceConfig):
    """The other."""

    kind: Literal["local"] = "local"
    size: int = 0


class Config(ResourceConfig):
    """What drivers have."""

    host: str = "h"
    port: int = Field(default=1, gt=0)
    url: Secret | None = None
    logins: list[Login] = Field(default_factory=list)
    by_name: dict[str, Login] = Field(default_factory=dict)
    plain: Plain = Plain()
    target: Annotated[Remote | Local, Field(discriminator="kind")] = Local()
    tokens: dict[str, Secret] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    token_url: Annotated[str, NotSecret("an address")] = "http://h"
    address: AnyUrl | None = None
    free: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _echo(self) -> "Config":
        if self.port == 666:
            raise ValueError(f"wrong: {self!r} {[each.password.get_secret_value() for each in self.logins]}")
        if self.port == 667:
            raise KeyError(self.url.get_secret_value() if self.url else "none")
        if self.port == 668 and self.url:
            raise ValueError(f"starts with {self.url.get_secret_value()[:7]}")
        return self


def around(secret: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The secret as it is, or inside what is of the wrong kind."""
    return st.one_of(
        secret,
        secret.map(str.encode),
        secret.map(Secret),
        st.lists(secret, min_size=1, max_size=2),
        st.dictionaries(st.sampled_from(["passwd", "password", "x"]), secret, min_size=1, max_size=2),
        secret.map(lambda text: {"deep": [{"deeper": text}]}),
    )


def inputs(canary: str) -> st.SearchStrategy[dict[str, Any]]:
    """Configurations right and wrong, with the canary in many places of them."""
    secret = st.just(canary)
    wrong = around(secret)
    login = st.fixed_dictionaries(
        {}, optional={"user": st.sampled_from(["me", 7]), "password": wrong, "pin": wrong, "passwd": wrong}
    )
    url = f"https://user:{canary}@host/"
    return st.fixed_dictionaries(
        {},
        optional={
            "host": st.sampled_from(["db", 7, None]),
            "port": st.sampled_from([1, 0, -5, 666, 667, 668, "x"]) | wrong,
            "url": wrong,
            "logins": st.lists(login | wrong, max_size=3) | wrong,
            "by_name": st.dictionaries(st.sampled_from(["a", "b"]), login | wrong, max_size=2) | wrong,
            "plain": st.fixed_dictionaries({}, optional={"size": st.integers() | wrong, "word": wrong})
            | wrong,
            "target": st.fixed_dictionaries(
                {},
                optional={"kind": st.sampled_from(["remote", "local"]) | wrong, "url": wrong, "size": wrong},
            ),
            "tokens": st.dictionaries(st.sampled_from(["a"]) | secret, wrong | st.integers(), max_size=2)
            | wrong,
            "headers": st.dictionaries(st.sampled_from(["Authorization", "X-Api-Key"]), wrong, max_size=2),
            "token_url": st.just(url),
            "address": st.sampled_from([url, f"//{canary}"]),
            "free": st.dictionaries(st.sampled_from(["secret", "apiKey"]), wrong, max_size=2),
            "unknown": wrong,
            "db_password": wrong,
        },
    )


def refusal(value: object) -> ValidationFailed | None:
    """Validate; return the error, if any."""
    try:
        validate_config(Config, value)
    except ValidationFailed as refused:
        return refused
    return None


def told_by(refused: ValidationFailed) -> list[str]:
    """Every text that an error and its violations can be made to say."""
    return [
        str(refused),
        repr(refused),
        repr(refused.violations),
        *(f"{each}{each!r}" for each in refused.violations),
        *traceback.format_exception(refused),
    ]


@laws
@given(st.data())
def test_a_secret_never_comes_out(data: st.DataObject) -> None:
    """Refused, it is in no violation, text or traceback; taken, in no repr or display."""
    canary = data.draw(canaries)
    value = data.draw(inputs(canary))
    refused = refusal(value)
    if refused is not None:
        assert refused.__context__ is None
        assert refused.violations
        told = told_by(refused)
    else:
        config = validate_config(Config, value)
        assume(canary not in config.tokens)  # a key that was taken is a name
        told = [str(config), repr(config), repr([config]), json.dumps(redacted(config)), fingerprint(config)]
    for text in told:
        assert canary.casefold() not in text.casefold()
        assert canary[:7] not in text


@laws
@given(st.data())
def test_a_model_never_validated_is_no_way_out_either(data: st.DataObject) -> None:
    """The same through model_construct, which lets anything in."""
    canary = data.draw(canaries)
    refused = refusal(Config.model_construct(**data.draw(inputs(canary))))
    for text in told_by(refused) if refused is not None else []:
        assert canary.casefold() not in text.casefold()


@laws
@given(canaries, st.data())
def test_a_secret_that_was_taken_shows_nowhere(canary: str, data: st.DataObject) -> None:
    """Every right place filled with it: no repr, text, JSON or display of the configuration has it."""
    url = f"https://user:{canary}@host/"
    login = {"password": data.draw(st.sampled_from([canary, Secret(canary)])), "pin": canary}
    config = validate_config(
        Config,
        {
            "url": url,
            "logins": [login],
            "by_name": {"a": login},
            "target": {"kind": "remote", "url": url},
            "tokens": {"a": canary},
            "headers": {
                data.draw(st.sampled_from(["Authorization", "cookie", "X-Api-Key", "x-token"])): canary
            },
            "token_url": url,
            "address": url,
            "free": {"secret": data.draw(around(st.just(canary)))},
        },
    )
    again = validate_config(Config, config)
    assert fingerprint(again) == fingerprint(config)
    for text in (str(again), repr(again), f"{[again]}", json.dumps(redacted(again)), fingerprint(again)):
        assert canary.casefold() not in text.casefold()


@laws
@given(canaries, canaries)
def test_fingerprints_tell_secrets_apart(one: str, other: str) -> None:
    """Equal exactly when the secrets are."""

    def of(secret: str) -> str:
        return fingerprint(Config(logins=[Login(password=Secret(secret))]))

    assert (of(one) == of(other)) is (one == other)
