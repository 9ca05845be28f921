"""Settings: what the environment says about the demo service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from nebula_resource.errors import FieldViolation, ValidationFailed
from nebula_resource.service.logs import LogFormat

__all__ = ["HOST", "Settings"]

HOST = "127.0.0.1"
"""The admin API answers only this machine until it has keys, so nothing else is listened on."""

DATA = Path(".data")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_YES, _NO = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the demo service runs.

    ``port`` (PORT; 0: any free one), ``data`` (DATA: the folder of the tenants' databases), ``traffic`` (TRAFFIC=0:
    none is made), ``log_format`` (LOG_FORMAT: console or json), ``log_level`` (LOG_LEVEL).
    """

    port: int = 8000
    data: Path = DATA
    traffic: bool = True
    log_format: LogFormat = "console"
    log_level: str = "WARNING"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read them. Raises `ValidationFailed` with every violation; values are not repeated in it."""
        wrong: list[FieldViolation] = []

        def chosen(name: str, default: str, choices: tuple[str, ...]) -> str:
            given = environment.get(name) or default
            if given in choices:
                return given
            wrong.append(FieldViolation(name, f"must be one of {', '.join(choices)}", "something else"))
            return default

        port = environment.get("PORT") or "8000"
        if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
            wrong.append(FieldViolation("PORT", "must be a whole number from 0 to 65535", "something else"))
        traffic = environment.get("TRAFFIC", "1").lower()
        if traffic not in _YES | _NO:
            wrong.append(FieldViolation("TRAFFIC", "must be 1 or 0", "something else"))
        data = environment.get("DATA") or str(DATA)
        if "\0" in data:
            wrong.append(FieldViolation("DATA", "must be the path of a folder", "something else"))
        formats: tuple[LogFormat, ...] = get_args(LogFormat)
        form = chosen("LOG_FORMAT", "console", formats)
        level = chosen("LOG_LEVEL", "WARNING", _LEVELS)
        if wrong:
            raise ValidationFailed(wrong)
        return cls(
            port=int(port),
            data=Path(data),
            traffic=traffic in _YES,
            log_format="json" if form == "json" else "console",
            log_level=level,
        )
