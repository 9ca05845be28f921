"""KeySource: where keys come from: a list, or a file that may change while the process runs."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from nebula_resource.admin.auth.key import Key
from nebula_resource.admin.auth.role import Role
from nebula_resource.errors import ConfigurationError
from nebula_resource.model.plain_file import NotPlain, read_plain

__all__ = ["KeyFile", "KeyList", "KeySource"]

log = logging.getLogger("nebula_resource.admin")

MOST_BYTES = 1024 * 1024
"""What a file of keys may have: some six thousand of them."""

_FIELDS = {"digest", "role", "name", "tenant", "expires_at"}

_Stamp: TypeAlias = tuple[int, int, int, int]


class _Unreadable(ConfigurationError):
    """What it holds cannot be told."""


class KeySource(Protocol):
    """Knows keys by their id."""

    def get(self, id: str, /) -> Key | None:
        """The key with this id, as of now."""


class KeyList:
    """Keys that stand in the program's own configuration.

    Raises:
        ConfigurationError: no key, or two with one id.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        given = list(keys)
        self._keys = {key.id: key for key in given}
        if not given or len(self._keys) != len(given):
            raise ConfigurationError("a list of keys has at least one, and each id once")

    def __repr__(self) -> str:
        return f"<KeyList of {len(self._keys)}>"

    def get(self, id: str, /) -> Key | None:
        """The key with this id."""
        return self._keys.get(id)


class KeyFile:
    """Keys in a TOML file, read again when it changes.

    One table a key::

        [keys.3f9a1c22d4e0]
        digest = "…"            # SHA-256 of the secret, hexadecimal
        role = "operator"       # metrics, viewer, operator, admin
        name = "on call"        # optional
        tenant = "acme"         # optional: sees only what names this tenant
        expires_at = 2027-01-01T00:00:00Z   # optional

    A change that cannot be read leaves the keys as they were, and is logged. Where it is the reading that failed, not
    what was read, it is tried again each time: rights and descriptors come back without a change of the file.

    Raises:
        ConfigurationError: at the start, the file cannot be read; the message names places, never values.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._stamp = self._look()
        self._keys = self._read()
        self._told: str | None = None
        """Why the file, as it is, is not taken over: said once."""

    def __repr__(self) -> str:
        return f"<KeyFile '{self._path}' of {len(self._keys)}>"

    def get(self, id: str, /) -> Key | None:
        """The key with this id, as the file has it now."""
        stamp = self._look()
        if stamp != self._stamp:
            self._take_over(stamp)
        return self._keys.get(id)

    def _take_over(self, stamp: _Stamp | None) -> None:
        told, self._told = self._told, None
        try:
            self._keys = self._read()
        except ConfigurationError as error:
            if isinstance(error, _Unreadable):
                stamp, self._told = self._stamp, error.message
            if error.message != told:
                log.error("key file not taken over", extra={"because": error.message})
        self._stamp = stamp

    def _look(self) -> _Stamp | None:
        """What changes when the file does."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        # That of its last change of any kind too: whoever copies in place may put the time of writing back.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

    def _read(self) -> dict[str, Key]:
        try:
            content = read_plain(self._path, MOST_BYTES)
            if len(content) > MOST_BYTES:
                raise ConfigurationError(f"a key file has at most {MOST_BYTES // 1024 // 1024} MiB")
            value = tomllib.loads(content.decode("utf-8"))
        except OSError as error:
            raise _Unreadable(f"the key file {_why_not(error)}") from None
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"the key file {_why_not(error)}") from None
        keys = value.get("keys")
        if not isinstance(keys, dict) or not keys or set(value) != {"keys"}:
            raise ConfigurationError("a key file holds tables [keys.ID] and nothing else, at least one")
        return {name: _key(name, entry) for name, entry in keys.items()}


def _why_not(error: Exception) -> str:
    """Why it cannot be read, for whoever wrote its path. What TOML says of it may quote a line."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "is not there"
        case IsADirectoryError():
            return "is a folder"
        case NotPlain():
            return "must be a regular file: a pipe or a device cannot be read again"
        case PermissionError():
            return "may not be read by this user"
        case UnicodeDecodeError() | tomllib.TOMLDecodeError() | RecursionError():
            return "is not TOML"
        case _:
            return f"cannot be read ({type(error).__name__})"


def _key(id: str, entry: Any) -> Key:
    """One table of the file."""
    if not isinstance(entry, Mapping) or not {"digest", "role"} <= set(entry) <= _FIELDS:
        raise ConfigurationError(
            f"keys.{id} holds digest and role, and of the rest only {', '.join(sorted(_FIELDS))}"
        )
    texts = {name: entry[name] for name in ("digest", "role", "name", "tenant") if name in entry}
    if not all(isinstance(text, str) for text in texts.values()):
        raise ConfigurationError(f"the fields of keys.{id} are texts")
    expires_at = entry.get("expires_at")
    if expires_at is not None and not isinstance(expires_at, datetime):
        raise ConfigurationError(f"keys.{id}.expires_at is a time")
    try:
        return Key(
            id=id,
            digest=entry["digest"],
            role=Role.parse(entry["role"]),
            name=entry.get("name", ""),
            tenant=entry.get("tenant"),
            expires_at=expires_at,
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"keys.{id}: {error.message}") from None
