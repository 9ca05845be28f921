"""Injection: what dependency-injector's wiring knows of one function; all that we read of its private names.

dependency-injector is pinned to the minor version this was written against; ``tests/unit/di/test_wired.py`` holds the canary
that fails first when a new one differs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from dependency_injector import providers, wiring

__all__ = ["Injection", "configuration_of", "injections_in", "is_marker", "shown"]


class Injection:
    """The markers of one injected function, and the providers that the wiring found for them."""

    __slots__ = ("_patched", "original", "wrapper")

    def __init__(self, wrapper: Callable[..., Any], patched: Any) -> None:
        self._patched = patched
        self.wrapper = wrapper
        self.original: Callable[..., Any] = patched.original

    @classmethod
    def of(cls, fn: Callable[..., Any]) -> Injection | None:
        """The injection of a function that ``@inject`` returned; None for any other."""
        patched = wiring._patched_registry.get_callable(fn)
        return None if patched is None else cls(fn, patched)

    @property
    def markers(self) -> Mapping[str, Any]:
        """Parameter to marker; that inside a ``Closing`` for one of those."""
        markers: Mapping[str, Any] = self._patched.reference_injections
        return markers

    @property
    def closing(self) -> Mapping[str, Any]:
        """The parameters that ``Closing`` marks."""
        closing: Mapping[str, Any] = self._patched.reference_closing
        return closing

    @property
    def providers(self) -> dict[str, providers.Provider[Any]]:
        """Parameter to the provider that is wired now; what is not resolved is missing."""
        wired: dict[str, providers.Provider[Any]] = self._patched.injections
        return wired

    @property
    def unresolved(self) -> list[str]:
        """The parameters whose marker has no provider."""
        wired = self.providers
        return [name for name in self.markers if name not in wired]

    @property
    def qualified_name(self) -> str:
        """Module and name of the function, for messages."""
        return f"{self.original.__module__}.{self.original.__qualname__}"


def injections_in(*modules: ModuleType) -> Iterator[Injection]:
    """The injected functions whose module is one of these."""
    for module in modules:
        for fn in list(wiring._patched_registry.get_callables_from_module(module)):
            injection = Injection.of(fn)
            assert injection is not None, "what the registry lists, it knows"
            yield injection


def configuration_of(option: providers.ConfigurationOption) -> providers.Configuration:
    """Whose option it is; one that is ``required()`` is in no container's list of providers."""
    configuration: providers.Configuration = option._get_root()
    return configuration


def is_marker(value: object) -> bool:
    """Whether a value is a marker (``Provide[...]`` and its kin) that stands for something to be injected."""
    return getattr(value, "__IS_MARKER__", False) is True and not inspect.isclass(value)


def shown(marker: Any) -> str:
    """A marker as one writes it: ``Provide['db']``."""
    return f"{type(marker).__name__}[{marker.provider!r}]"
