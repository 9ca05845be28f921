"""Wording: errors of a user's code that quote a secret, and a log that tells where they came from and none of their words."""

from __future__ import annotations

import logging

import pytest

SECRET = "open-sesame"


def quoting() -> RuntimeError:
    """An error as careless code raises it, from another like it."""
    error = RuntimeError(f"cannot reach postgres://u:{SECRET}@h")
    error.__cause__ = OSError(SECRET)
    return error


def assert_located_without_words(caplog: pytest.LogCaptureFixture, message: str, function: str) -> None:
    """One line with this message names the error's type and the function that raised it, and repeats nothing of it."""
    (record,) = [each for each in caplog.records if each.message == message]
    fields = vars(record)
    assert fields["error"] == "RuntimeError"
    assert fields["where"][-1].endswith(f"in {function}")
    whole = logging.Formatter("%(message)s").format(record) + repr(fields)
    assert SECRET not in whole
