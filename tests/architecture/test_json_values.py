"""Every public frozen value survives a JSON round trip, or stands below with what in it is no data (SPEC §25)."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter

import nebula_resource
from nebula_resource import HealthPolicy, HealthStatus, QuarantinePolicy, Scope
from nebula_resource.events import EVENTS, Event, event_from_json
from nebula_resource.health import HealthView, StageResult, Transition
from nebula_resource.hooks import ByIds
from nebula_resource.metrics import CATALOGUE, Metric
from nebula_resource.model.backoff import Backoff
from nebula_resource.model.health import Degraded, Healthy, Unhealthy
from nebula_resource.model.histogram import HistogramSnapshot
from nebula_resource.pool import PoolConfig
from nebula_resource.quarantine import Manual, QuarantineEntry, RecoveryBackoff

AT = datetime(2026, 11, 28, 2, 45, tzinfo=UTC)
HISTOGRAM = HistogramSnapshot(bounds=(0.1, 1.0), counts=(3, 0, 1), total_s=2.5)

NOT_DATA = {
    "Credential": "holds a secret, which must not be written out",
    "Key": "is read from the key file and never written",
    "HookResult": "carries a hook's own note, which may be anything",
    "PoolReadout": "is made of functions",
    "RecoveryTarget": "carries the probe to call",
    "ActionContext": "carries a cancellation token and the way to resources",
    "Retry": "carries a function",
    "Step": "carries the function that it runs",
    "Parallel": "is made of steps",
    "WorkflowDefinition": "is made of steps",
    "WorkflowResult": "carries an exception; its own to_json says what of it is data",
    "Family": "its samples are keyed by tuples: it is rendered as text",
    "Readings": "is made of families: it is rendered as text",
    "Leaks": "holds secrets, to find them in texts",
    "HookPayload": "is the base of the payloads",
}
"""Public frozen classes that are not data, and why."""

SAMPLES: Mapping[type, Callable[[], Any]] = {
    PoolConfig: lambda: PoolConfig(max_size=3, min_size=0, max_waiting=7),
    HealthPolicy: lambda: HealthPolicy(interval=3.5),
    QuarantinePolicy: lambda: QuarantinePolicy(max_attempts=3),
    HealthStatus: lambda: HealthStatus(Degraded("slow", 0.25), 0.5, {"stage": "x"}, AT),
    HealthView: lambda: HealthView(
        own=Healthy(), effective=Degraded("db", 0.5), causes={"db": Unhealthy("gone")}, since=AT, last_checked=None, failures=2
    ),
    Transition: lambda: Transition(AT, Healthy(), Unhealthy("gone", recoverable=False), "db"),
    StageResult: lambda: StageResult("x", Healthy(), 0.5, {"a": 1}),
    QuarantineEntry: lambda: QuarantineEntry(
        resource_id="db", scope=Scope.tenant("a"), reason=Manual("a look"), quarantined_at=AT, attempts=1, max_attempts=10,
        next_attempt_at=AT, phase="waiting", by="ops", expires_at=None,
    ),
    Metric: lambda: next(iter(CATALOGUE.values())),
    Backoff: lambda: Backoff(base=0.5, factor=3.0),
    RecoveryBackoff: lambda: RecoveryBackoff(max=30.0),
    ByIds: lambda: ByIds("db", "cache"),
}  # fmt: skip  # values, each in a line or two


def public_frozen() -> dict[str, type]:
    """The frozen dataclasses that public modules list."""
    found: dict[str, type] = {}
    for info in pkgutil.walk_packages(nebula_resource.__path__, "nebula_resource."):
        module = (
            None if "._" in info.name or ".dashboard" in info.name else importlib.import_module(info.name)
        )
        for name in getattr(module, "__all__", ()) if module is not None and is_public(info) else ():
            held = getattr(module, name)
            if inspect.isclass(held) and dataclasses.is_dataclass(held) and held.__dataclass_params__.frozen:  # type: ignore[attr-defined]  # dataclasses' own
                found[held.__name__] = held
    return found


def is_public(info: pkgutil.ModuleInfo) -> bool:
    """A package with a list of its own, or a module of the model and of testing, which have none."""
    return (
        info.ispkg
        or info.name.startswith(("nebula_resource.model.", "nebula_resource.testing."))
        or info.name == "nebula_resource.errors"
    )


PUBLIC = public_frozen()
DATA = sorted(name for name, cls in PUBLIC.items() if name not in NOT_DATA and not issubclass(cls, Event))


def sample(hint: Any, name: str = "") -> Any:
    """A value of a type, other than a field's default where that is easy."""
    if hint in SAMPLES:
        return SAMPLES[hint]()
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        return hint(
            **{
                each.name: sample(hints[each.name], each.name)
                for each in dataclasses.fields(hint)
                if each.init
            }
        )
    if isinstance(hint, type) and issubclass(hint, Enum):
        return list(hint)[-1]
    simple: dict[Any, Any] = {
        str: "a text", int: 3, float: 0.5, bool: True, datetime: AT, Scope: Scope.workflow("w", tenant="a"),
        Mapping[str, int]: {"a": 1}, tuple[str, ...]: ("a", "b"), tuple[int, ...]: (3, 0, 1), tuple[float, ...]: (0.1, 1.0),
        frozenset[str]: frozenset({"a"}), Path: Path("a/file"), Mapping[str, tuple[str, ...]]: {"a": ("b", "c")}, Mapping[str, HistogramSnapshot]: {"x": HISTOGRAM},
    }  # fmt: skip  # a table
    if hint in simple:
        return simple[hint]
    options = [each for each in getattr(hint, "__args__", ()) if each is not type(None)]
    if str(hint).startswith("typing.Literal"):
        return options[0]
    if getattr(hint, "__origin__", None) is tuple:
        return (sample(options[0]),)
    if options:
        return sample(options[0], name)
    raise AssertionError(f"no sample for {hint!r} ({name}): add one")


def test_there_are_many() -> None:
    """The search finds them: an empty list would pass everything."""
    assert len(DATA) > 25
    assert {"PoolStats", "HealthStatus", "ShutdownReport", "PoolConfig", "FieldViolation"} <= set(DATA)


def test_what_is_no_data_is_still_there() -> None:
    """A reason whose class is gone goes with it."""
    assert set(NOT_DATA) - set(PUBLIC) == set()


@pytest.mark.parametrize("name", DATA)
def test_a_frozen_value_survives_json(name: str) -> None:
    """Written by pydantic, read by pydantic: the same value again."""
    cls = PUBLIC[name]
    value = sample(cls)
    adapter: TypeAdapter[Any] = TypeAdapter(cls)
    written = adapter.dump_json(value)
    assert json.loads(written) is not None
    assert adapter.validate_json(written) == value


@pytest.mark.parametrize("event_type", EVENTS, ids=lambda each: each.__name__)
def test_an_event_survives_json(event_type: type[Event]) -> None:
    """By its own `to_json`, which names its type."""
    hints = get_type_hints(event_type)
    held = {each.name: sample(hints[each.name], each.name) for each in dataclasses.fields(event_type)}
    event = event_type(**held)
    assert event_from_json(json.loads(json.dumps(event.to_json()))) == event
