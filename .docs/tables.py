"""Tables: what the reference says in rows, read from the code when the site is built, so that it cannot be old."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

__all__ = ["TABLES"]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _first(of: Any) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(of) or "").partition("\n\n")[0].split()).replace("``", "`")


def errors() -> str:
    """Every error: code, whether it may be tried again, and the status it becomes over HTTP."""
    from nebula_resource import errors as module
    from nebula_resource.model.problems import _row_of

    classes = [getattr(module, name) for name in module.__all__]
    classes = [each for each in classes if issubclass(each, module.ResourceError)]

    def status(cls: Any) -> str:
        return str(_row_of(cls.__new__(cls)).status)

    return _table(
        ("error", "code", "retryable", "HTTP", ""),
        (
            (f"`{each.__name__}`", f"`{each.code}`", "yes" if each.default_retryable else "no", status(each), _first(each))
            for each in sorted(classes, key=lambda cls: (status(cls), cls.__name__))
        ),
    )  # fmt: skip


def events() -> str:
    """Every event with its name, severity and fields."""
    from nebula_resource.events import EVENTS, Event

    common = {field.name for field in dataclasses.fields(Event)}
    return _table(
        ("event", "name", "severity", "fields", ""),
        (
            (
                f"`{each.__name__}`",
                f"`{each.name}`",
                each.default_severity.value if each.severity is Event.severity else "by its fields",
                ", ".join(
                    f"`{field.name}`" for field in dataclasses.fields(each) if field.name not in common
                ),
                _first(each),
            )
            for each in sorted(EVENTS, key=lambda cls: cls.name)
        ),
    )


def metrics() -> str:
    """Every metric with its labels, and what it is called elsewhere."""
    from nebula_resource.metrics.catalogue import CATALOGUE

    return _table(
        ("metric", "kind", "labels", "in the design documents", "OpenTelemetry", ""),
        (
            (
                f"`{each.series_name}`",
                each.kind,
                ", ".join(f"`{label}`" for label in each.labels),
                ", ".join(f"`{name}`" for name in each.seeds),
                f"`{each.otel}`" if each.otel else "",
                each.help,
            )
            for each in CATALOGUE.values()
        ),
    )


def admin_settings() -> str:
    """Every setting of ``[admin]`` with its variable."""
    from nebula_resource.service.admin_section import ENVIRONMENT, AdminSection

    variables = {setting: name for name, setting in ENVIRONMENT.items()}
    return _table(
        ("setting", "variable", "default"),
        (
            (
                f"`{name}`",
                f"`{variables[name]}`" if name in variables else "",
                f"`{field.get_default(call_default_factory=True)!r}`",
            )
            for name, field in AdminSection.model_fields.items()
        ),
    )


def _settings(cls: Any) -> str:
    hints = typing.get_type_hints(cls, {**vars(inspect.getmodule(cls) or cls)})
    rows: list[tuple[str, ...]] = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        kind = (
            hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "").rpartition("~")[2]
        )
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        shown = default.name if isinstance(default, Enum) else repr(default)
        rows.append((f"`{field.name}`", f"`{kind}`", f"`{shown}`"))
    return _table(("setting", "type", "default"), rows)


def _of(path: str) -> Callable[[], str]:
    def make() -> str:
        module, _, name = path.rpartition(".")
        return _settings(getattr(__import__(module, fromlist=[name]), name))

    return make


TABLES: dict[str, Callable[[], str]] = {
    "errors": errors,
    "events": events,
    "metrics": metrics,
    "admin": admin_settings,
    "PoolConfig": _of("nebula_resource.pool.PoolConfig"),
    "AdminSettings": _of("nebula_resource.admin.AdminSettings"),
    "HealthPolicy": _of("nebula_resource.model.health.HealthPolicy"),
    "QuarantinePolicy": _of("nebula_resource.quarantine.QuarantinePolicy"),
    "RecoveryBackoff": _of("nebula_resource.quarantine.RecoveryBackoff"),
}
"""By the name in ``<!-- table: NAME -->``."""
