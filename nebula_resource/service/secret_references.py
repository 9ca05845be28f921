"""Secret references: ``env:NAME`` and ``file:PATH`` in the place of a secret; a plain one is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from pydantic import BaseModel

from nebula_resource.model.config import Secret
from nebula_resource.model.config_leaks import step
from nebula_resource.model.plain_file import NotPlain, read_plain
from nebula_resource.model.secret_names import SECRET_TYPES, is_secret_name, parts_of
from nebula_resource.service.addresses import NOT_HERE
from nebula_resource.service.findings import Findings, under

__all__ = ["Contents", "SecretReferences", "read_secrets"]

MOST_BYTES = 64 * 1024
"""What a file with one secret may have."""

Contents: TypeAlias = Mapping[Path, bytes | Exception]
"""What each file holds, or why it cannot be read."""

_REFERENCE = re.compile(r"(env):(.*)|(file):(?!//)(.+)", re.DOTALL)
_USUAL_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_LOGIN = re.compile(r"://[^/?#\s]*:[^/?#\s]*@")
_UNREADABLE: Mapping[type[Exception], tuple[str, str]] = MappingProxyType(
    {
        FileNotFoundError: ("there", "nothing"),
        IsADirectoryError: ("a file", "a folder"),
        PermissionError: ("one that this user may read", "no permission"),
    }
)
"""By what the system said of a file: what it must be, and what it is."""
_RULE = "must be env:NAME or file:PATH: a secret never stands in the file itself"


def read_secrets(document: object, base: Path) -> Contents:
    """Read every file that a document names as ``file:PATH``, in whatever place; may stand still as long as a disk does."""
    names = {match[4] for match in map(_REFERENCE.fullmatch, _texts(document)) if match and match[3]}
    return {base / name: _content(base / name) for name in names}


def _texts(value: object) -> Iterator[str]:
    """Every text in it that is no key."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _content(file: Path) -> bytes | Exception:
    try:
        return read_plain(file, MOST_BYTES)
    except (OSError, ValueError) as error:
        return error


class SecretReferences:
    """Puts secrets in the place of references, and finds what stands in the wrong place.

    Args:
        base: the folder that relative paths start from: the configuration file's own.
        environment: where ``env:`` looks.
        contents: what the files hold that ``file:`` names, or why that cannot be told: `read_secrets`.
        findings: where violations go; neither a value nor a path of a secret is in them.
    """

    def __init__(
        self, base: Path, environment: Mapping[str, str], contents: Contents, findings: Findings
    ) -> None:
        self._base = base
        self._environment = environment
        self._contents = contents
        self._findings = findings
        self.files: set[Path] = set()
        """The files that were named, whether or not they could be read."""

    def resolve(self, value: Any, model: type[BaseModel] | None, path: str) -> Any:
        """Return the value, meant for ``model`` (None: for nobody known), with every reference resolved."""
        return self._walk(value, [Any if model is None else model], False, path)

    def _walk(self, value: Any, annotations: list[Any], named: bool, path: str) -> Any:
        """``named``: what it is called says that it is a secret, and nobody declared what it is."""
        if isinstance(value, Mapping):
            return {key: self._below(item, annotations, named, path, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self._below(item, annotations, named, path, at) for at, item in enumerate(value)]
        takes_secret, takes_text = _takes(annotations)
        if isinstance(value, str):
            reference = _REFERENCE.fullmatch(value)
            if reference is not None and (takes_secret or named):
                return self._secret(reference, path)
            if reference is not None:
                self._findings.add(path, NOT_HERE, "a reference")
            elif named or (takes_secret and not takes_text):
                self._findings.add(path, _RULE, "a plain value")
                return Secret("")  # so that its own rules do not look at the plain one
            elif _LOGIN.search(value):
                rule = "must not hold a login: give user and password as env:NAME or file:PATH of their own"
                self._findings.add(path, rule, "a URL with a login")
        elif named or (takes_secret and not takes_text):
            self._findings.add(path, _RULE, type(value).__name__)
            return Secret("")
        return value

    def _below(self, value: Any, annotations: list[Any], named: bool, path: str, key: str | int) -> Any:
        further, declared = step(annotations, key)
        named = not declared and (named or (isinstance(key, str) and is_secret_name(key)))
        return self._walk(value, further, named, under(path, key))

    def _secret(self, reference: re.Match[str], path: str) -> Secret:
        kind, name = ("env", reference[2]) if reference[1] else ("file", reference[4])
        found = self._from_environment(name, path) if kind == "env" else self._from_file(name, path)
        return Secret("" if found is None else found)

    def _from_environment(self, name: str, path: str) -> str | None:
        # An unusual name may be the secret itself, written behind env: by mistake.
        shown = name if _USUAL_NAME.fullmatch(name) else "it names"
        if name not in self._environment:
            self._findings.add(path, f"the environment variable {shown} must be set", "nothing")
        elif not self._environment[name]:
            self._findings.add(path, f"the environment variable {shown} must not be empty", "nothing in it")
        else:
            return self._environment[name]
        return None

    def _from_file(self, name: str, path: str) -> str | None:
        file = self._base / name
        self.files.add(file)
        content = self._contents[file]
        if isinstance(content, NotPlain):
            self._findings.add(path, "the file it names must be a regular one", "a pipe or a device")
            return None
        if isinstance(content, Exception):
            rule, found = _UNREADABLE.get(type(content), ("one that can be read", type(content).__name__))
            self._findings.add(path, f"the file it names must be {rule}", found)
            return None
        if len(content) > MOST_BYTES:
            self._findings.add(path, f"the file it names must not exceed {MOST_BYTES // 1024} KiB", "more")
            return None
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            self._findings.add(path, "the file it names must be text in UTF-8", "something else")
            return None
        text = text.removesuffix("\n").removesuffix("\r")  # editors and echo end a line
        if not text:
            self._findings.add(path, "the file it names must not be empty", "nothing in it")
            return None
        return text


def _takes(annotations: list[Any]) -> tuple[bool, bool]:
    """Whether a masked type is declared there, and whether a plain text is."""
    parts = [part for each in annotations for part in parts_of(each)]
    kinds = [part for part in parts if isinstance(part, type)]
    secret = any(issubclass(kind, SECRET_TYPES) for kind in kinds)
    text = Any in parts or any(issubclass(kind, str) or kind is object for kind in kinds)
    return secret or Any in parts, text
