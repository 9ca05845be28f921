"""Credentials: found or missing, never shown, never read from outside their place."""

import os
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nebula_resource.errors import ConfigurationError, MissingCredential
from nebula_resource.model.config import Secret
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.credentials import (
    MAX_FILE_BYTES,
    AuthenticatedResource,
    Credential,
    CredentialProvider,
    EnvironmentCredentials,
    FileCredentials,
    StaticCredentials,
)

CANARY = "hunter2-canary"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


# ── the value ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_credential_shows_its_version_and_not_its_value() -> None:
    """Repr and text mask the secret."""
    credential = Credential(Secret(CANARY), "7", NOON)
    assert CANARY not in f"{credential} {credential!r}"
    assert "7" in repr(credential)
    assert credential.value.get_secret_value() == CANARY


def test_a_credential_wants_a_secret_and_an_aware_time() -> None:
    """A bare str would show in reprs, a naive time means nothing; neither text repeats the value."""
    with pytest.raises(ConfigurationError) as refused:
        Credential(CANARY, "1")  # type: ignore[arg-type]  # the point of the test
    assert CANARY not in str(refused.value)
    with pytest.raises(ConfigurationError, match="time zone"):
        Credential(Secret(CANARY), "1", datetime(2030, 1, 1))  # noqa: DTZ001  # the point of the test


def test_a_credential_expires_at_its_time() -> None:
    """It works up to, not at, that time; without one for ever."""
    credential = Credential(Secret(CANARY), "1", NOON)
    assert not credential.is_expired(NOON - timedelta(microseconds=1))
    assert credential.is_expired(NOON)
    assert not Credential(Secret(CANARY), "1").is_expired(NOON)


# ── static ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_static_credentials_are_given_rotated_and_removed() -> None:
    """Texts, secrets and whole credentials are taken; a new value has a new version; absent is missing."""
    fixed = Credential(Secret("c"), "seven", NOON)
    provider = StaticCredentials({"a": CANARY, "b": Secret("b"), "c": fixed})
    first = await provider.get("a")
    assert first.value == Secret(CANARY)
    assert await provider.get("c") is fixed
    rotated = provider.put("a", "new")
    assert await provider.get("a") is rotated
    assert rotated.version != first.version
    provider.remove("a")
    provider.remove("a")
    with pytest.raises(MissingCredential) as missing:
        await provider.get("a")
    assert missing.value.key == "a"
    assert repr(provider) == "<StaticCredentials b, c>"
    assert repr(StaticCredentials()) == "<StaticCredentials empty>"


# ── environment ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_environment_is_read_at_each_get() -> None:
    """The variable's name is derived, and a change is a new version; the version tells nothing of the value."""
    environ = {"ORDERS_DB_PASSWORD": CANARY, "ORDERS_EMPTY": ""}
    provider = EnvironmentCredentials("ORDERS_", environ=environ)
    assert provider.variable("db.password") == "ORDERS_DB_PASSWORD"
    first = await provider.get("db.password")
    assert first.value.get_secret_value() == CANARY
    assert (await provider.get("db-password")).version == first.version
    assert CANARY not in first.version
    environ["ORDERS_DB_PASSWORD"] = "new"
    second = await provider.get("db.password")
    assert second.value.get_secret_value() == "new"
    assert second.version != first.version
    for absent in ("empty", "nothing"):
        with pytest.raises(MissingCredential):
            await provider.get(absent)
    assert repr(provider) == "<EnvironmentCredentials ORDERS_*>"
    other = EnvironmentCredentials("ORDERS_", environ={"ORDERS_DB_PASSWORD": CANARY})
    assert (await other.get("db.password")).version != first.version, (
        "a version could be compared across services"
    )


async def test_the_processs_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping os.environ is read, undecodable bytes included."""
    monkeypatch.setenv("NEBULA_TEST_TOKEN", os.fsdecode(b"caf\xe9"))
    credential = await EnvironmentCredentials("NEBULA_TEST_").get("token")
    assert os.fsencode(credential.value.get_secret_value()) == b"caf\xe9"


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write(directory: Path, files: Mapping[str, bytes]) -> None:
    """Make files."""
    for name, content in files.items():
        (directory / name).write_bytes(content)


async def test_a_file_is_a_credential(tmp_path: Path) -> None:
    """The content without one line end, read anew at each get."""
    write(
        tmp_path, {"a": b"hunter2\n", "b": b"hunter2\r\n", "c": b" two\nlines\n\n", "d": b"\xef\xbb\xbfbom"}
    )
    provider = FileCredentials(tmp_path)
    got = {key: (await provider.get(key)).value.get_secret_value() for key in "abcd"}
    assert got == {"a": "hunter2", "b": "hunter2", "c": " two\nlines\n", "d": "bom"}
    before = (await provider.get("a")).version
    assert (await provider.get("b")).version == before
    write(tmp_path, {"a": b"new"})
    assert (await provider.get("a")).version != before
    assert repr(provider) == f"<FileCredentials {tmp_path}>"


async def test_kubernetes_editions_are_followed(tmp_path: Path) -> None:
    """A mounted Secret is links within its directory: key -> ..data/key, ..data -> a dated directory."""
    for edition in ("..2030", "..2031"):
        (tmp_path / edition).mkdir()
        (tmp_path / edition / "db.password").write_text(edition)
    (tmp_path / "..data").symlink_to("..2030")
    (tmp_path / "db.password").symlink_to("..data/db.password")
    provider = FileCredentials(tmp_path)
    assert (await provider.get("db.password")).value.get_secret_value() == "..2030"
    (tmp_path / "next").symlink_to("..2031")
    (tmp_path / "next").rename(tmp_path / "..data")
    assert (await provider.get("db.password")).value.get_secret_value() == "..2031"


async def test_no_key_leaves_the_directory(tmp_path: Path) -> None:
    """Neither by its name nor through a link."""
    inside = tmp_path / "secrets"
    inside.mkdir()
    (inside / "sub").mkdir()
    write(tmp_path, {"outside": CANARY.encode()})
    write(inside, {".hidden": b"x", "sub/deep": b"x"})
    (inside / "link").symlink_to(tmp_path / "outside")
    (inside / "loop").symlink_to("loop")
    (inside / "dangling").symlink_to("nowhere")
    os.mkfifo(inside / "fifo")
    provider = FileCredentials(inside)
    names = ["../outside", str(tmp_path / "outside"), "link", "loop", "dangling", "sub", "sub/deep", "fifo"]
    for key in [*names, ".hidden", "..", ".", "", "a\x00b", "secrets/../../outside", "x" * 129, "absent"]:
        with pytest.raises(MissingCredential) as missing:
            await provider.get(key)
        assert missing.value.key == key


async def test_a_file_that_is_no_credential(tmp_path: Path) -> None:
    """Empty is missing; too large or no text is a mistake that is named without its content; no directory: missing."""
    write(
        tmp_path,
        {"empty": b"", "line": b"\n", "large": b"x" * (MAX_FILE_BYTES + 1), "binary": b"\xffhunter2"},
    )
    provider = FileCredentials(tmp_path)
    for key in ("empty", "line"):
        with pytest.raises(MissingCredential):
            await provider.get(key)
    with pytest.raises(ConfigurationError, match="over 1048576 bytes"):
        await provider.get("large")
    with pytest.raises(ConfigurationError, match="not UTF-8") as refused:
        await provider.get("binary")
    assert refused.value.__context__ is None
    with pytest.raises(MissingCredential):
        await FileCredentials(tmp_path / "none").get("a")


# ── resources ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Database(AuthenticatedResource):
    """Needs two."""

    id = "db"
    credential_keys = ("db.user", "db.password")


async def test_a_resource_gets_what_it_declares() -> None:
    """The keys are asked from the context's provider; one that is absent is named."""
    provider: CredentialProvider = StaticCredentials({"db.user": "app", "db.password": CANARY, "other": "x"})
    found = await Database().get_credentials(ResourceContext(credentials=provider))
    assert {key: each.value.get_secret_value() for key, each in found.items()} == {
        "db.user": "app",
        "db.password": CANARY,
    }
    with pytest.raises(MissingCredential, match=r"db\.password"):
        await Database().get_credentials(ResourceContext(credentials=StaticCredentials({"db.user": "app"})))
    with pytest.raises(MissingCredential, match=r"resource 'db' needs the credential 'db\.user'"):
        await Database().get_credentials(ResourceContext())
    assert await AuthenticatedResource().get_credentials(ResourceContext()) == {}


def test_the_providers_fit_the_port() -> None:
    """Each built-in provider is a CredentialProvider; a credential can be pickled to a child process."""
    for provider in (StaticCredentials(), EnvironmentCredentials(), FileCredentials()):
        assert isinstance(provider, CredentialProvider)
    credential = Credential(Secret(CANARY), "1", NOON)
    assert pickle.loads(pickle.dumps(credential)) == credential
