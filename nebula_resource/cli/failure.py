"""Failure: what ends a command: one line for the person, one code for the script."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitCode", "Failure"]


class ExitCode(IntEnum):
    """How a command ended (SPEC §24; 130 is what shells make of SIGINT)."""

    OK = 0
    REFUSED = 1
    """Unhealthy, or the service said no."""
    USAGE = 2
    """The command line or a configuration is wrong."""
    UNREACHABLE = 3
    """No admin API answers there."""
    INTERRUPTED = 130
    """Ctrl-C before the end; what the service was asked for goes on."""


class Failure(Exception):
    """A command cannot do what it was asked for; ``message`` is one line."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
