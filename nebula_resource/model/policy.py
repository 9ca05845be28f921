"""Policy: what every policy shares: the value that turns one off, and rules that report all breaches at once."""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

from nebula_resource.errors import FieldViolation, ValidationFailed

__all__ = ["OFF", "Off", "Rules"]


class Off(Enum):
    """The type of `OFF`; ``policy is OFF`` narrows it away for a type checker."""

    OFF = "off"

    def __repr__(self) -> str:
        return "OFF"

    __str__ = __repr__


OFF: Final = Off.OFF
"""In place of a policy: this registration does without (``None`` inherits the manager's)."""


class Rules:
    """Collects every rule that a set of values breaks, so that a person fixes them in one go.

    A value of the wrong type is named by its type, never shown: it may be a secret in the wrong place.
    """

    __slots__ = ("violations",)

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []

    def breach(self, field: str, constraint: str, actual: object) -> None:
        """Note one breach; numbers and None are shown, anything else by its type."""
        shown = (
            str(actual)
            if isinstance(actual, int | float | None)
            else actual.__name__
            if isinstance(actual, type)
            else type(actual).__name__
        )
        self.violations.append(FieldViolation(field, constraint, shown))

    def number(
        self,
        field: str,
        value: object,
        *,
        above: float | None = None,
        least: float | None = None,
        most: float = math.inf,
    ) -> None:
        """Require a finite number that is greater than ``above``, at least ``least``, at most ``most``."""
        rule = "must be a number"
        if above is not None:
            rule += f" above {above:g}"
        if least is not None:
            rule += f" of at least {least:g}"
        if most != math.inf:
            rule += f", at most {most:g}"
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not (
            fits
            and isinstance(value, int | float)
            and (above is None or value > above)
            and (least is None or value >= least)
            and value <= most
        ):
            self.breach(field, rule, value)

    def count(self, field: str, value: object, *, least: int) -> None:
        """Require a whole number of at least ``least``."""
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self.breach(field, f"must be a whole number of at least {least}", value)

    def flag(self, field: str, value: object) -> None:
        """Require True or False."""
        if not isinstance(value, bool):
            self.breach(field, "must be true or false", value)

    def raise_if_broken(self) -> None:
        """Raise `ValidationFailed` with everything noted.

        Raises:
            ValidationFailed: at least one rule is broken.
        """
        if self.violations:
            raise ValidationFailed(self.violations)
