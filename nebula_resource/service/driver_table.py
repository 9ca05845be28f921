"""DriverTable: which resource a driver's name means: ours, those of installed packages, and ``module:Class``."""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from nebula_resource.errors import ConfigurationError
from nebula_resource.model.resource import Resource
from nebula_resource.service.addresses import Translation, postgres_address, sqlite_address
from nebula_resource.service.findings import near

__all__ = ["GROUP", "Driver", "driver_names", "find_driver", "load_drivers"]

GROUP = "nebula_resource.drivers"
"""The entry points under which a package offers drivers."""


@dataclass(frozen=True, slots=True)
class Driver:
    """What a name means: ``make(id, dependencies)`` gives the resource, ``translate`` reads the driver's short forms.

    ``short`` are the settings of the short form, the first of them never left out; ``pool`` are the settings that hold
    where a file gives no others.
    """

    name: str
    target: Any = field(repr=False)
    translate: Translation | None = None
    pool: Mapping[str, Any] = field(default_factory=dict)
    short: Sequence[str] = ()

    def make(self, id: str, dependencies: Sequence[str] | None) -> Resource[Any, Any, Any]:
        """A resource with this id; ``dependencies`` None: those it declares itself. Raises `ConfigurationError`."""
        target = self.target
        try:
            made = copy.copy(target) if isinstance(target, Resource) else _called(target, id)
            made.id = id
            if dependencies is not None:
                made.dependencies = tuple(dependencies)
        except Exception as error:
            raise ConfigurationError(
                f"its constructor must take no arguments, or id ({type(error).__name__} was raised)"
            ) from None
        return made


def _called(target: Callable[..., Any], id: str) -> Any:
    takes = inspect.signature(target).parameters
    return target(id=id) if "id" in takes else target()


@dataclass(frozen=True, slots=True)
class _Ours:
    target: str
    extra: str
    translate: Translation | None = None
    pool: Mapping[str, Any] = field(default_factory=dict)
    loads: Sequence[str] = ()
    """Modules that the first create would load otherwise: on the loop, for a quarter of a second."""
    short: Sequence[str] = ()


_SQLALCHEMY = "nebula_resource.drivers.sqlalchemy:SqlAlchemyResource"
_OURS: Mapping[str, _Ours] = MappingProxyType(
    {
        "http": _Ours(
            "nebula_resource.drivers.http:HttpResource",
            "http",
            pool=MappingProxyType({"sharing": "shared", "min_size": 1, "max_size": 2}),
        ),
        "postgres": _Ours(
            _SQLALCHEMY,
            "postgres",
            postgres_address,
            loads=("nebula_resource.drivers.sqlalchemy.postgres", "sqlalchemy.dialects.postgresql.asyncpg"),
            short=("host", "database", "port"),
        ),
        "sqlalchemy": _Ours(_SQLALCHEMY, "sqlalchemy"),
        "sqlite": _Ours(
            _SQLALCHEMY,
            "sqlalchemy",
            sqlite_address,
            loads=("nebula_resource.drivers.sqlalchemy.sqlite", "sqlalchemy.dialects.sqlite.aiosqlite"),
            short=("path",),
        ),
    }
)
_LATER = frozenset({"kafka", "mongodb", "redis"})


def driver_names() -> list[str]:
    """Every name that can be given, beside ``module:Class``."""
    return sorted({*_OURS, *(each.name for each in entry_points(group=GROUP))})


def find_driver(name: str) -> Driver:
    """Return what a name means; it is imported now. Raises `ConfigurationError`, whose text does not repeat the name."""
    ours = _OURS.get(name)
    if ours is not None:
        return Driver(name, _import_ours(ours), ours.translate, ours.pool, ours.short)
    if ":" in name:
        module, _, attribute = name.partition(":")
        return Driver(name, _checked(_import(module, attribute)))
    offered = [each for each in entry_points(group=GROUP) if each.name == name]
    if offered:
        return Driver(name, _checked(_load(offered[0])))
    if name in _LATER:
        raise ConfigurationError("this driver is not supported yet")
    names = driver_names()
    raise ConfigurationError(
        f"must be one of {', '.join(names)}, or module:Class of your own{near(name, names)}"
    )


def load_drivers(document: Mapping[str, Any]) -> None:
    """Import every driver that a document names; may take as long as an import does. What is wrong is told by `find_driver`."""
    tables = document.get("resources")
    for table in tables.values() if isinstance(tables, Mapping) else ():
        name = table.get("driver") if isinstance(table, Mapping) else None
        if isinstance(name, str):
            with suppress(ConfigurationError):
                find_driver(name)


def _import_ours(ours: _Ours) -> Any:
    module, _, attribute = ours.target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"this driver needs its extra: pip install 'nebula-resource[{ours.extra}]'"
        ) from None
    with suppress(ModuleNotFoundError):  # the driver says so itself, where its configuration is looked at
        for each in ours.loads:
            importlib.import_module(each)
    return found


def _import(module: str, attribute: str) -> Any:
    if not module or not attribute or not all(part.isidentifier() for part in module.split(".")):
        raise ConfigurationError("must be module:Class, such as shop.drivers:Ledger")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise ConfigurationError("there is no such module") from None
        raise ConfigurationError(f"its module needs {error.name}, which is not installed") from None
    except AttributeError:
        names = [each for each in vars(sys.modules.get(module, object)) if not each.startswith("_")]
        raise ConfigurationError(f"its module has no such class{near(attribute, names)}") from None
    except Exception as error:
        raise ConfigurationError(f"its module cannot be imported ({type(error).__name__})") from None
    return found


def _load(offered: EntryPoint) -> Any:
    try:
        return offered.load()
    except Exception as error:
        raise ConfigurationError(
            f"this driver's package cannot be imported ({type(error).__name__})"
        ) from None


def _checked(target: Any) -> Any:
    if isinstance(target, Resource) or (isinstance(target, type) and issubclass(target, Resource)):
        return target
    if callable(target) and not isinstance(target, type):
        return target
    raise ConfigurationError(
        "must name a subclass of Resource, a function that returns one, or one made by resource_factory"
    )
