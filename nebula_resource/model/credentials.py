"""Credentials: secrets by name, asked for when an instance is created."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from nebula_resource.errors import ConfigurationError, MissingCredential
from nebula_resource.model.config import Secret

if TYPE_CHECKING:
    from nebula_resource.model.context import ResourceContext

__all__ = [
    "AuthenticatedResource",
    "Credential",
    "CredentialProvider",
    "EnvironmentCredentials",
    "FileCredentials",
    "StaticCredentials",
]

MAX_FILE_BYTES = 1024 * 1024
"""Largest credential file read, in bytes: the limit of a Kubernetes Secret."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NOT_IN_A_VARIABLE = re.compile(r"[^A-Z0-9]")


@dataclass(frozen=True, slots=True)
class Credential:
    """One secret, which edition of it, and until when (an aware datetime) it works; None: it does not expire."""

    value: Secret
    version: str
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.value, Secret):  # pyright: ignore[reportUnnecessaryIsInstance]  # a bare str would show in reprs
            raise ConfigurationError(
                "the value of a credential is a Secret: Credential(Secret(...), version)"
            )
        if self.expires_at is not None and self.expires_at.utcoffset() is None:
            raise ConfigurationError("expires_at of a credential needs a time zone: datetime.now(UTC) + ...")

    def is_expired(self, at: datetime) -> bool:
        """Say whether it no longer works at ``at`` (an aware datetime)."""
        return self.expires_at is not None and at >= self.expires_at


@runtime_checkable
class CredentialProvider(Protocol):
    """Where credentials come from."""

    async def get(self, key: str, /) -> Credential:
        """Return the credential as it is now.

        Raises:
            MissingCredential: there is none of this name.
        """
        ...


class StaticCredentials:
    """Credentials given in the program: for tests and examples."""

    def __init__(self, credentials: Mapping[str, Credential | Secret | str] | None = None) -> None:
        self._credentials: dict[str, Credential] = {}
        self._puts = 0
        for key, value in (credentials or {}).items():
            self.put(key, value)

    def put(self, key: str, value: Credential | Secret | str) -> Credential:
        """Set or rotate one; what is no Credential gets a version of its own. Returns what ``get`` will give."""
        self._puts += 1
        if isinstance(value, str):
            value = Secret(value)
        credential = value if isinstance(value, Credential) else Credential(value, str(self._puts))
        self._credentials[key] = credential
        return credential

    def remove(self, key: str) -> None:
        """Forget one; nothing happens when there is none."""
        self._credentials.pop(key, None)

    async def get(self, key: str, /) -> Credential:
        """Return the credential. Raises MissingCredential."""
        credential = self._credentials.get(key)
        if credential is None:
            raise MissingCredential(key)
        return credential

    def __repr__(self) -> str:
        return f"<StaticCredentials {', '.join(self._credentials) or 'empty'}>"


class EnvironmentCredentials:
    """Credentials from environment variables, read anew at each ``get``.

    The variable of ``db.password`` with the prefix ``ORDERS_`` is ``ORDERS_DB_PASSWORD``: upper case, with ``_`` for
    whatever is no letter or digit. An empty variable counts as missing.
    """

    def __init__(self, prefix: str = "", *, environ: Mapping[str, str] | None = None) -> None:
        self._prefix = prefix
        self._environ = os.environ if environ is None else environ
        self._versions = _Versions()

    def variable(self, key: str) -> str:
        """Return the name of the variable that holds ``key``."""
        return self._prefix + _NOT_IN_A_VARIABLE.sub("_", key.upper())

    async def get(self, key: str, /) -> Credential:
        """Return the credential. Raises MissingCredential."""
        value = self._environ.get(self.variable(key))
        if not value:
            raise MissingCredential(key)
        return Credential(Secret(value), self._versions.of(value))

    def __repr__(self) -> str:
        return f"<EnvironmentCredentials {self._prefix}*>"


class FileCredentials:
    """Credentials from one directory, a file each, as Docker and Kubernetes mount them; read anew at each ``get``.

    One line end after the value is dropped. A key names a file of the directory and nothing else: links are followed
    only within it (Kubernetes swaps editions by such links).
    """

    def __init__(self, directory: str | os.PathLike[str] = "/run/secrets") -> None:
        self._directory = Path(directory)
        self._versions = _Versions()

    async def get(self, key: str, /) -> Credential:
        """Return the credential; the read is a short one of a memory file system, so it is done in place.

        Raises:
            MissingCredential: no such file, or it lies outside, is empty or cannot be read.
            ConfigurationError: the file is no text or over 1 MiB.
        """
        value = self._read(key)
        if not value:
            raise MissingCredential(key)
        return Credential(Secret(value), self._versions.of(value))

    def _read(self, key: str) -> str:
        if _KEY.fullmatch(key) is None:  # no separator, no leading dot: it cannot leave the directory by name
            return ""
        try:
            root = self._directory.resolve(strict=True)
            path = (root / key).resolve(strict=True)
            if not path.is_relative_to(root) or not path.is_file():
                return ""
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except (OSError, RuntimeError):  # RuntimeError: a loop of links, before 3.13
            return ""
        if len(content) > MAX_FILE_BYTES:
            raise ConfigurationError(f"the file of credential '{key}' is over {MAX_FILE_BYTES} bytes")
        text = _text(content)
        if text is None:
            raise ConfigurationError(f"the file of credential '{key}' is not UTF-8 text")
        return text.removesuffix("\n").removesuffix("\r")

    def __repr__(self) -> str:
        return f"<FileCredentials {self._directory}>"


class AuthenticatedResource:
    """Beside ``Resource``: declares which credentials ``create`` needs.

    ``class Db(AuthenticatedResource, Resource[...]): credential_keys = ("db.password",)``
    """

    credential_keys: Sequence[str] = ()
    """Names to ask the provider for; each must be there when an instance is created."""

    async def get_credentials(self, context: ResourceContext) -> dict[str, Credential]:
        """Return the declared credentials by key, asked from the context's provider now.

        Raises:
            MissingCredential: one is absent, or the context has no provider.
        """
        provider = context.credentials
        found: dict[str, Credential] = {}
        for key in self.credential_keys:
            if provider is None:
                raise MissingCredential(key, resource_id=getattr(self, "id", None))
            found[key] = await provider.get(key)
        return found


def _text(content: bytes) -> str | None:
    """Decode; None instead of a UnicodeDecodeError, which would carry the content."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


class _Versions:
    """Names editions of a secret by a digest under a key of this provider, so that a version tells nothing."""

    __slots__ = ("_key",)

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def of(self, value: str) -> str:
        """Return the same text for the same value, another for another."""
        content = value.encode("utf-8", "surrogateescape")  # undecodable bytes of the environment arrive so
        return hashlib.blake2b(content, key=self._key, digest_size=8).hexdigest()
