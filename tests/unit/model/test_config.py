"""Configurations: frozen, all violations at once, secrets shown nowhere and compared all the same."""

import copy
import json
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar

import pytest
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    PostgresDsn,
    PydanticUserError,
    SecretBytes,
    SecretStr,
    ValidationError,
    computed_field,
    create_model,
    field_validator,
    model_validator,
)
from typing_extensions import TypeAliasType

from nebula_resource.errors import ConfigurationError, ValidationFailed
from nebula_resource.model.config import (
    FieldViolation,
    NotSecret,
    ResourceConfig,
    Secret,
    fingerprint,
    redacted,
    validate_config,
)
from nebula_resource.model.config_display import MASK
from nebula_resource.model.secret_names import is_secret_name

CANARY = "hunter2-canary"


class Auth(ResourceConfig):
    """Nested, with an alias."""

    user: str = Field(default="app", alias="login")
    password: Secret


class Extended(Auth):
    """What may stand where an Auth is wanted."""

    realm: str = "main"


class Retry(BaseModel):
    """A plain pydantic model in a configuration."""

    attempts: int = Field(default=3, ge=0)


class RedisBackend(ResourceConfig):
    """One member of a union."""

    kind: Literal["redis"] = "redis"
    url: Secret


class MemoryBackend(ResourceConfig):
    """The other."""

    kind: Literal["memory"] = "memory"
    size: int = 3


class Config(ResourceConfig):
    """One of everything."""

    host: str
    port: int = Field(default=5432, gt=0, lt=65536)
    mode: Literal["fast", "safe"] = "safe"
    ratio: float = 0.5
    auth: Auth | None = None
    retry: Retry = Retry()
    backend: Annotated[RedisBackend | MemoryBackend, Field(discriminator="kind")] = MemoryBackend()
    replicas: list[Auth] = Field(default_factory=list)
    tags: dict[str, int] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    site: HttpUrl | None = None
    dsn: Secret | None = None

    @model_validator(mode="after")
    def _cross_check(self) -> "Config":
        if self.port == 13:
            raise ValueError("port 13 is not allowed with this host")
        if self.port == 14:
            raise ValueError(f"user {self.auth.password.get_secret_value() if self.auth else None} may not")
        if self.port == 15:
            raise RuntimeError(f"broken by {self.auth}")
        return self


GOOD: dict[str, Any] = {"host": "db1", "auth": {"login": "me", "password": CANARY}}


def violations(value: object, model: type[BaseModel] = Config) -> dict[str, tuple[str, str]]:
    """Validate what must fail; return path → (constraint, actual)."""
    with pytest.raises(ValidationFailed) as refused:
        validate_config(model, value)
    assert refused.value.__context__ is None
    assert refused.value.__cause__ is None
    assert CANARY not in f"{refused.value} {refused.value!r} {refused.value.violations!r}"
    return {each.field: (each.constraint, each.actual) for each in refused.value.violations}


# ── Secret ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_secret_shows_nowhere() -> None:
    """Repr, text, format, percent and JSON mask it, an empty one too."""
    for secret in (Secret(CANARY), Secret("")):
        shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>30}", "%s" % secret, f"{[secret]}"]  # noqa: UP031  # the point of the test
        assert all(MASK in text and CANARY not in text for text in shown)
        assert repr(secret) == f"Secret('{MASK}')"
    assert Secret(CANARY).get_secret_value() == CANARY


def test_secrets_compare_by_value_and_never_equal_a_text() -> None:
    """Two equal secrets are equal with equal hashes; a str, or a secret of another kind, is not."""
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    others: list[object] = ["a", SecretStr("a"), b"a"]
    assert all(Secret("a") != other for other in others)
    assert Secret("é\ud800") != Secret("é")


def test_a_secret_holds_a_text() -> None:
    """pydantic's own secret is unwrapped; anything else is refused without being repeated."""
    assert Secret(SecretStr(CANARY)).get_secret_value() == CANARY
    bad: Any = [CANARY]
    with pytest.raises(TypeError) as refused:
        Secret(bad)
    assert CANARY not in str(refused.value)


def test_a_secret_survives_pickling_and_copying() -> None:
    """A child process may need it."""
    secret = Secret(CANARY)
    for again in (pickle.loads(pickle.dumps(secret)), copy.copy(secret), copy.deepcopy(secret)):
        assert again == secret
        assert type(again) is Secret


# ── ResourceConfig ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_config_is_frozen_and_closed() -> None:
    """Fields cannot be set, unknown keys are refused, defaults are validated, inputs are hidden."""
    config = validate_config(Config, GOOD)
    with pytest.raises(ValidationError, match="frozen"):
        config.port = 1
    with pytest.raises(ValidationError) as refused:
        Config.model_validate({"host": [CANARY], "unknown": 1})
    assert CANARY not in str(refused.value)
    assert "unknown" in str(refused.value)

    class Wrong(ResourceConfig):
        size: int = "many"  # type: ignore[assignment]  # the point of the test

    with pytest.raises(ValidationError):
        Wrong()


def test_the_repr_of_a_config_shows_no_secret() -> None:
    """Nor the password inside a URL, nor a value under a secret-looking key of a mapping."""
    config = validate_config(
        Config,
        {
            **GOOD,
            "site": f"https://user:{CANARY}@example.com/x",
            "headers": {"Authorization": CANARY, "accept": f"http://a:{CANARY}@b"},
            "dsn": CANARY,
            "backend": {"kind": "redis", "url": CANARY},
            "replicas": [{"password": CANARY}],
        },
    )
    assert CANARY not in f"{config} {config!r} {config.model_dump_json()[:0]}"
    assert "example.com/x" in repr(config)
    assert "host='db1'" in repr(config)


def test_a_config_without_secrets_survives_json() -> None:
    """What is written is read back as an equal configuration."""
    config = Config(host="db1", retry=Retry(attempts=7), tags={"a": 1})
    assert Config.model_validate_json(config.model_dump_json()) == config
    violation = FieldViolation("a.b", "must be good", "int")
    assert (
        FieldViolation(
            **json.loads(json.dumps({"field": "a.b", "constraint": "must be good", "actual": "int"}))
        )
        == violation
    )


# ── secret-looking names ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "db_password", "dbPassword", "password2", "user_passwords", "passwd", "pwd",
        "passphrase", "token", "access_token", "accessTokens", "APIToken", "tokens", "secret", "client_secret",
        "clientSecret", "topsecret", "api_key", "apiKey", "APIKey", "apikey", "X-Api-Key", "private_key",
        "privateKeys", "access_key", "accessKeyId", "dsn", "sentry_dsn", "signing_key", "connection_string",
        "Authorization", "proxy-authorization", "Cookie", "db_pass", "credentials", "jwt", "token_url",
    ],
)  # fmt: skip
def test_a_secret_looking_name(name: str) -> None:
    """Words are found across underscores, hyphens, camel case, plurals and numbers."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "host", "url", "key", "keys", "primary_key", "tokenizer", "secretary", "pass_through", "compass",
     "bypass", "cookie_name", "authority", "monkey", "access", "api", "keyboard", "private", "123", "author"],
)  # fmt: skip
def test_a_name_that_only_resembles_one(name: str) -> None:
    """Part of another word is no word."""
    assert not is_secret_name(name)


T = TypeVar("T")
Name = NewType("Name", str)
Text = TypeAliasType("Text", str)
Texts = TypeAliasType("Texts", list[Text])


@dataclass
class Pair:
    """Neither a text nor a model."""

    a: int


@pytest.mark.parametrize(
    "annotation",
    [
        str, bytes, str | None, list[str], dict[str, str], tuple[int, ...] | str, Annotated[str, "x"],
        list[Annotated[str, "x"]],
        AnyUrl, HttpUrl, PostgresDsn, Name, Text, Texts, Any, object, StrEnum | str, Annotated[HttpUrl | None, 1],
    ],
    ids=str,
)  # fmt: skip
def test_a_plain_text_with_a_secret_looking_name_is_refused(annotation: Any) -> None:
    """In whatever wrapping; the message names the field and both ways out."""
    with pytest.raises(ConfigurationError) as refused:
        type(
            "Leaky", (ResourceConfig,), {"__annotations__": {"api_token": annotation}, "__module__": __name__}
        )
    text = str(refused.value)
    assert "Leaky would show a secret: api_token" in text
    assert "Secret" in text
    assert "NotSecret" in text


@pytest.mark.parametrize(
    "annotation",
    [
        Secret, Secret | None, list[Secret], dict[int, Secret], SecretStr, SecretBytes, int, bool, float | None,
        Path, timedelta, Literal["a", "b"], Annotated[str, NotSecret("an address")], Pair,
        tuple[int, Annotated[str, NotSecret("an address")]], list[Annotated[str, NotSecret("names")]],
    ],
    ids=str,
)  # fmt: skip
def test_what_shows_no_secret_is_taken(annotation: Any) -> None:
    """Masked types, numbers, paths, closed sets of words, and what is declared not to be one."""
    type(
        "Fine",
        (ResourceConfig,),
        {"__annotations__": {"api_token": annotation}, "__module__": __name__, "model_config": ConfigDict()},
    )


def test_an_alias_and_a_nested_plain_model_are_looked_at_too() -> None:
    """What a user writes in a file is the alias; what a nested model shows, the configuration shows."""
    with pytest.raises(ConfigurationError, match="would show a secret: pw"):
        create_model("AliasSecret", __base__=ResourceConfig, pw=(str, Field(alias="password")))

    class Tree(BaseModel):
        password: str
        children: list["Tree"] = []

    with pytest.raises(ConfigurationError, match=r"would show a secret: inner\.password"):
        create_model("NestedSecret", __base__=ResourceConfig, inner=(dict[str, Tree], ...))


def test_a_field_that_is_read_later_is_checked_then() -> None:
    """A forward reference is refused when it can be read, at the latest when the model is built."""

    class Later(ResourceConfig):
        token: "Undefined | None" = None  # type: ignore[name-defined]  # noqa: F821  # the point of the test

    with pytest.raises(ConfigurationError, match="Later would show a secret: token"):
        Later.model_rebuild(_types_namespace={"Undefined": str})


def test_a_generic_config_is_checked_for_what_it_is_made_of() -> None:
    """The type variable says nothing, its argument does."""

    class Box(ResourceConfig, Generic[T]):
        token: T

    assert Box[int](token=3).token == 3
    with pytest.raises(ConfigurationError, match="would show a secret: token"):
        Box[str]
    bounded = TypeVar("bounded", bound=str)
    with pytest.raises(ConfigurationError, match="would show a secret: token"):
        type(
            "BoundedSecret",
            (ResourceConfig,),
            {"__annotations__": {"token": list[bounded]}, "__module__": __name__},  # type: ignore[valid-type]  # pydantic reads it at run time
        )


def test_not_secret_wants_a_reason() -> None:
    """The reason is for the reader of the code."""
    assert NotSecret("the address").why == "the address"
    with pytest.raises(ConfigurationError, match="wants the reason"):
        NotSecret("  ")


# ── validate_config ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_mapping_becomes_a_model() -> None:
    """Any mapping; the model is as pydantic would make it."""
    for mapping in (GOOD, MappingProxyType(GOOD), OrderedDict(GOOD)):
        config = validate_config(Config, mapping)
        assert config.auth == Auth(login="me", password=Secret(CANARY))
        assert config.port == 5432


def test_all_violations_come_at_once_with_dotted_paths() -> None:
    """Every field that is wrong is named as the user wrote it; members of unions are not part of the path."""
    found = violations(
        {
            "port": -1,
            "mode": "slow",
            "ratio": "x",
            "auth": {"login": 7, "password": 8, "extra": CANARY},
            "retry": {"attempts": -5},
            "backend": {"kind": "redis"},
            "replicas": [{"password": CANARY}, {"login": "x"}, CANARY],
            "tags": {"a": 1, "b.c": 2.5},
            "unknown": CANARY,
        }
    )
    assert found == {
        "host": ("is missing", "nothing"),
        "port": ("must be more than 0", "-1"),
        "mode": ("must be 'fast' or 'safe'", "str"),
        "ratio": ("must be a number", "str"),
        "auth.login": ("must be a text", "7"),
        "auth.password": ("must be a text", "int"),
        "auth.extra": ("is not known here", "str"),
        "retry.attempts": ("must be at least 0", "-5"),
        "backend.url": ("is missing", "nothing"),
        "replicas.1.password": ("is missing", "nothing"),
        "replicas.2": ("must be a mapping of names", "str"),
        "tags.b.c": ("must be a whole number", "2.5"),
        "unknown": ("is not known here", "str"),
    }


def test_a_path_stands_before_the_paths() -> None:
    """Whoever validates a part of a file says where it stands."""
    with pytest.raises(ValidationFailed) as refused:
        validate_config(Config, {"port": 1}, path="resources.db.config")
    assert refused.value.violations == (FieldViolation("resources.db.config.host", "is missing", "nothing"),)
    with pytest.raises(ValidationFailed) as refused:
        validate_config(Config, 7, path="resources.db.config")
    assert refused.value.violations[0].field == "resources.db.config"


@pytest.mark.parametrize("value", [None, 7, CANARY, [CANARY], Retry(), [("host", "db1")], Config])
def test_what_is_neither_a_mapping_nor_the_model_is_refused(value: object) -> None:
    """The type is named, the value is not."""
    ((constraint, actual),) = violations(value).values()
    assert constraint == "must be a Config or a mapping"
    assert actual == type(value).__name__


def test_a_key_that_is_no_text_is_a_violation() -> None:
    """It is named all the same."""
    assert violations({"host": "a", 1: 2})["1"][1] == "int"


def test_models_are_validated_again() -> None:
    """An instance changed by force, or never validated, is as good as a mapping with the same values."""
    good = validate_config(Config, GOOD)
    again = validate_config(Config, good)
    assert again == good
    object.__setattr__(good, "port", "many")
    assert list(violations(good)) == ["port"]
    raw = Config.model_construct(port=0, auth=Auth.model_construct(user=7, password=CANARY, more=1))
    assert set(violations(raw)) == {"host", "port", "auth.user"}


def test_nested_models_are_validated_again_wherever_they_stand() -> None:
    """In a field, a list, a mapping; plain pydantic models too; each violation once, at its path."""
    retry, auth = Retry(), Auth(password=Secret("x"))
    object.__setattr__(retry, "attempts", -1)
    object.__setattr__(auth, "password", 7)
    found = violations(
        {"host": "a", "retry": retry, "auth": auth, "replicas": [Auth(password=Secret("x")), auth]}
    )
    assert set(found) == {"retry.attempts", "auth.password", "replicas.1.password"}
    assert found["auth.password"][1] == "int"


class Careful(BaseModel):
    """A plain model that pydantic itself validates again."""

    model_config = ConfigDict(revalidate_instances="always")
    size: int = Field(default=1, gt=0)


class Holder(ResourceConfig):
    """Holds one."""

    careful: Careful = Careful()


def test_a_model_that_pydantic_validates_again_too_gives_one_violation() -> None:
    """Both find the same, and it is said once."""
    careful = Careful()
    object.__setattr__(careful, "size", -1)
    with pytest.raises(ValidationFailed) as refused:
        validate_config(Holder, {"careful": careful})
    assert refused.value.violations == (FieldViolation("careful.size", "must be more than 0", "-1"),)


def test_a_nested_model_keeps_its_own_class() -> None:
    """Validated again, a subclass stays what it is, extra fields included; the top one too."""
    config = validate_config(Config, {"host": "a", "auth": Extended(password=Secret("x"), realm="other")})
    assert config.auth == Extended(password=Secret("x"), realm="other")

    class Larger(Config):
        zone: str = "a"

    larger = validate_config(Config, Larger(host="a", zone="b"))
    assert isinstance(larger, Larger)
    assert larger.zone == "b"


def test_computed_values_and_cached_ones_are_no_input() -> None:
    """Only fields, and extras where a model allows them, are validated again."""

    class Open(ResourceConfig):
        model_config = ConfigDict(extra="allow")
        a: int = 1

        @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated properties
        @property
        def double(self) -> int:
            return self.a * 2

    config = Open.model_validate({"a": 2, "more": "x"})
    object.__setattr__(config, "cached", 1)
    again = validate_config(Open, config)
    assert again.model_extra == {"more": "x"}
    assert "cached" not in again.__dict__


def test_a_cross_check_of_the_model_is_one_violation() -> None:
    """A validator's own words are kept where they repeat nothing of the input."""
    assert violations({**GOOD, "port": 13}) == {"config": ("port 13 is not allowed with this host", "dict")}


def test_a_validator_that_repeats_a_secret_is_not_quoted() -> None:
    """Neither what it says, nor what it breaks with."""
    assert violations({**GOOD, "port": 14}) == {"config": ("must pass the configuration's own check", "dict")}
    ((constraint, _),) = violations({**GOOD, "port": 15}).values()
    assert constraint.endswith("one of which raised RuntimeError")


class Talkative(ResourceConfig):
    """Validators that say too much."""

    url: Secret
    name: str = ""
    note: str = ""

    @field_validator("url", mode="before")
    @classmethod
    def _url(cls, value: str) -> str:
        if len(value) < 8:
            raise ValueError(f"{value} is short")
        return value

    @field_validator("note")
    @classmethod
    def _note(cls, value: str) -> str:
        if value:
            raise AssertionError(f"note {value} is wrong")
        return value

    @model_validator(mode="after")
    def _model(self) -> "Talkative":
        secret = self.url.get_secret_value()
        words = {
            "start": secret[:7],
            "upper": secret.upper(),
            "quoted": repr(secret),
            "none": "all well but wrong",
        }
        raise ValueError(f"no: {words.get(self.name, 'plain')}")


@pytest.mark.parametrize(
    ("name", "quoted"), [("start", False), ("upper", False), ("quoted", False), ("none", True)]
)
def test_parts_and_spellings_of_a_secret_are_found_in_a_validators_words(name: str, quoted: bool) -> None:
    """A beginning, another case, an escape; words that repeat nothing are kept."""
    ((constraint, _),) = violations({"url": f"pw-{CANARY}\\n", "name": name}, Talkative).values()
    assert (constraint == "no: all well but wrong") is quoted
    assert (constraint == "must pass the configuration's own check") is not quoted
    assert "pw-hunt" not in constraint


def test_a_validator_of_a_secret_field_is_never_quoted() -> None:
    """A field's own validator sees the raw secret."""
    found = violations({"url": "short", "note": "a-longer-note"}, Talkative)
    assert found["url"] == ("must pass the configuration's own check", "str")
    assert found["note"] == ("must pass the configuration's own check", "str")


class Lengths(ResourceConfig):
    """Rules on a secret."""

    password: Annotated[Secret, Field(min_length=8)]
    numbers: dict[str, Secret] = Field(default_factory=dict)
    passwords: dict[str, Secret] = Field(default_factory=dict)
    big: int = 0
    flag: bool = False
    pin: Annotated[int, Field(gt=0)] = 1
    free: dict[str, Any] = Field(default_factory=dict)


def test_neither_the_length_nor_a_chosen_key_of_a_secret_is_told() -> None:
    """Where secrets are, a path tells only declared names and positions."""
    found = violations({"password": "hunter2", "numbers": {CANARY: 1}, "passwords": {CANARY: [1]}}, Lengths)
    assert set(found) == {"password", "numbers.*", "passwords.*"}
    assert "7" not in found["password"][0]
    assert {actual for _, actual in found.values()} == {"str", "int", "list"}


def test_only_short_numbers_and_truth_values_are_shown() -> None:
    """Other values of the wrong kind give their type's name."""
    found = violations({"password": CANARY, "big": 0.5, "flag": 7, "pin": -3}, Lengths)
    assert {field: actual for field, (_, actual) in found.items()} == {"big": "0.5", "flag": "7", "pin": "-3"}
    huge = violations({"password": CANARY, "pin": -(10**30), "flag": None, "big": "x"}, Lengths)
    assert {field: actual for field, (_, actual) in huge.items()} == {
        "big": "str",
        "flag": "None",
        "pin": "int",
    }


def test_an_input_that_holds_itself_or_is_too_deep_is_refused() -> None:
    """No recursion error, no endless walk."""
    cycle: dict[str, Any] = {"password": CANARY}
    cycle["free"] = {"again": cycle}
    assert "nest deeper than 32" in violations(cycle, Lengths)["free"][0]


def test_a_class_that_is_not_ready_is_a_programming_error() -> None:
    """It is no violation of the user's; pydantic says what is missing."""

    class Unready(ResourceConfig):
        other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821  # the point of the test

    with pytest.raises(PydanticUserError, match="not fully defined"):
        validate_config(Unready, {"other": 1})


class Places(ResourceConfig):
    """Containers that a path leads through."""

    unique: frozenset[int] = frozenset()
    pairs: tuple[tuple[str, int], ...] = ()
    by_number: dict[int, int] = Field(default_factory=dict)
    blob: bytes = b""
    either: int | list[int] = 0


def test_paths_lead_through_sets_tuples_and_numbered_mappings() -> None:
    """Each part of a path is a key or a position of the input."""
    found = violations(
        {"unique": {"x"}, "pairs": [("a", "b")], "by_number": {7: "x"}, "blob": 1, "either": [1, "q"]}, Places
    )
    assert set(found) == {"unique.0", "pairs.0.1", "by_number.7", "blob", "either", "either.1"}


# ── redacted ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Colour(Enum):
    """Not a str."""

    RED = 1


class Shown(ResourceConfig):
    """One of each kind of value."""

    a: Secret = Secret(CANARY)
    b: SecretStr = SecretStr(CANARY)
    c: SecretBytes = SecretBytes(CANARY.encode())
    d: Colour = Colour.RED
    e: Path = Path("/tmp")
    f: timedelta = timedelta(seconds=90)
    g: IPv4Address = IPv4Address("127.0.0.1")
    h: Decimal = Decimal("1.5")
    i: frozenset[int] = frozenset({1})
    j: bytes = CANARY.encode()
    k: AnyUrl = AnyUrl(f"amqp://u:{CANARY}@host:1/v")
    l: str = f"see https://u:{CANARY}@host/path?q=a@b, or a@b"  # noqa: E741  # one letter each
    m: dict[str, Any] = Field(
        default={"api_key": CANARY, "n": {"Set-Cookie": CANARY, "x": None}, "token": None}
    )
    o: list[Retry] = Field(default=[Retry()])
    p: Any = None
    max_tokens: int = 7


def test_redacted_is_json_and_holds_no_secret() -> None:
    """Everything a person may see, in JSON values."""
    shown = redacted(Shown(p=object()))
    assert CANARY not in json.dumps(shown)
    assert shown == {
        "a": MASK,
        "b": MASK,
        "c": MASK,
        "d": 1,
        "e": "/tmp",
        "f": "PT1M30S",
        "g": "127.0.0.1",
        "h": "1.5",
        "i": [1],
        "j": "<14 bytes>",
        "k": f"amqp://{MASK}@host:1/v",
        "l": f"see https://{MASK}@host/path?q=a@b, or a@b",
        "m": {"api_key": MASK, "n": {"Set-Cookie": MASK, "x": None}, "token": None},
        "o": [{"attempts": 3}],
        "p": "<object>",
        "max_tokens": 7,
    }
    assert CANARY not in repr(Shown())


# ── fingerprint ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_equal_configs_have_equal_fingerprints() -> None:
    """However they were made, in whatever order mappings and sets were filled."""
    one = validate_config(Config, {**GOOD, "tags": {"a": 1, "b": 2}})
    two = validate_config(Config, {"tags": {"b": 2, "a": 1}, **GOOD})
    assert fingerprint(one) == fingerprint(two) == fingerprint(one.model_copy(deep=True))
    assert len(fingerprint(one)) == 32
    assert fingerprint(Shown()) == fingerprint(Shown())


def test_a_changed_secret_changes_the_fingerprint_and_shows_nowhere() -> None:
    """Secrets count with their values, at any depth."""
    seen = {
        fingerprint(validate_config(Config, {**GOOD, "auth": {"password": password}, "dsn": dsn}))
        for password in ("a", "b")
        for dsn in ("a", "b", None)
    }
    assert len(seen) == 6
    assert not any("hunter" in each for each in seen)


def test_every_difference_counts() -> None:
    """Kinds, boundaries, order of lists, classes: no two of these look alike."""

    class Free(ResourceConfig):
        value: Any = None

    class Other(ResourceConfig):
        value: Any = None

    values: list[Any] = [
        None, 1, True, 1.0, "1", b"1", [1], (1,), {1}, frozenset({1}), {"1": 1}, {1: 1}, [[1], 2], [[1, 2]], [1, 2],
        [2, 1], ["a", "b"], ["ab"], ["ab", ""], Secret("1"), SecretStr("1"), Colour.RED, Pair(1), Pair(2), Retry(),
        Decimal(1), Path("1"), timedelta(1), Pair, Retry, {"a": {}, "b": 1}, {"a": {"b": 1}}, [], [[]], {}, "",
        AnyUrl("http://a:b@c/"), AnyUrl("http://a:d@c/"), "\ud800",
    ]  # fmt: skip
    prints = [fingerprint(Free(value=value)) for value in values] + [fingerprint(Other())]
    assert len(set(prints)) == len(prints)


def test_a_key_makes_fingerprints_incomparable() -> None:
    """Without the key nobody can try passwords against it."""
    config = validate_config(Config, GOOD)
    assert fingerprint(config, key=b"k") == fingerprint(config, key=b"k")
    assert len({fingerprint(config), fingerprint(config, key=b"k"), fingerprint(config, key=b"l")}) == 3
