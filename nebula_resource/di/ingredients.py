"""Ingredients: what a provider uses to make what it gives."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from dependency_injector import providers

from nebula_resource.di.leased import Leased
from nebula_resource.di.scoped_singleton import ScopedSingleton

__all__ = ["has_to_be_awaited", "ingredients"]


def ingredients(
    provider: providers.Provider[Any], *, into_scopes: bool = True
) -> Iterator[providers.Provider[Any]]:
    """What a provider is given, directly or through others; a delegate (``repo.provider``) is given, and not what it makes.

    Args:
        provider: who is given it.
        into_scopes: whether to tell what the objects of scopes are given in turn.
    """
    seen: set[providers.Provider[Any]] = set()
    waiting = list(provider.related)
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        yield each
        if _is_itself_given(each) or (isinstance(each, ScopedSingleton) and not into_scopes):
            continue
        waiting.extend(each.related)


def has_to_be_awaited(provider: providers.Provider[Any]) -> bool:
    """Whether it gives a lease or the result of a coroutine, or something that is made from one."""
    if isinstance(provider, providers.Delegate):
        return False
    return _is_async(provider) or any(
        _is_async(each) for each in ingredients(provider) if not _is_itself_given(each)
    )


def _is_itself_given(provider: providers.Provider[Any]) -> bool:
    """Whether who is given it gets a provider, to be called later, and nothing that it made."""
    return isinstance(provider, providers.Delegate) or providers.is_delegated(provider)


def _is_async(provider: providers.Provider[Any]) -> bool:
    if isinstance(provider, (Leased, providers.Coroutine)):
        return True
    if isinstance(provider, ScopedSingleton):
        return _waits(provider.cls)
    if isinstance(provider, providers.BaseResource):
        maker = provider.provides
        return _waits(maker) or (inspect.isclass(maker) and _is_async_resource(maker))
    if isinstance(provider, (providers.Factory, providers.BaseSingleton, providers.Callable)):
        return inspect.iscoroutinefunction(provider.provides)
    return False


def _waits(maker: Any) -> bool:
    """Whether it is an async function or generator function, under ``@asynccontextmanager`` or bare."""
    bare: Any = inspect.unwrap(maker) if callable(maker) else maker
    return inspect.iscoroutinefunction(bare) or inspect.isasyncgenfunction(bare)


def _is_async_resource(maker: type[Any]) -> bool:
    """Whether it is a class that dependency-injector enters with ``async with``, as its own ``AsyncResource`` is."""
    return hasattr(maker, "__aenter__") and not hasattr(maker, "__enter__")
