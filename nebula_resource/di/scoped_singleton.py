"""ScopedSingleton: the provider of one object per open scope of a level."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncContextDecorator,
    ContextDecorator,
    asynccontextmanager,
    contextmanager,
)
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from dependency_injector import providers

from nebula_resource.di.leased import outside
from nebula_resource.di.made import when_made
from nebula_resource.manager.current import Visit
from nebula_resource.manager.open_scope import NOTHING, current_scope
from nebula_resource.model.scope import ScopeLevel

if TYPE_CHECKING:
    # What a function under @contextmanager returns has no public name.
    from contextlib import _AsyncGeneratorContextManager, _GeneratorContextManager

__all__ = ["ScopedSingleton"]

T = TypeVar("T")


class ScopedSingleton(providers.Provider[T]):
    """Makes one object for each open scope of a level, shared by all who ask inside, and ends it with the scope.

    It is made inside that scope, so the leases it is given are that scope's own. It is ended before them, and told the
    outcome: what a generator function yields (of either colour, under ``@contextmanager`` or bare) ends where that goes
    on; any other object with ``aclose()`` or ``close()`` is closed. An object is never entered just because it could
    be: locks and semaphores can. Where anything on the way is awaited, so is the provider.

    Args:
        level: one object per open scope of this level.
        cls: a class or function that makes it.
        *args: what it is given; providers give their objects.
        **kwargs: the same, by name.

    Raises:
        NoOpenScope: when it is asked outside an open scope of that level.
    """

    __slots__ = ("_factory", "_level", "_makes")

    @overload
    def __init__(
        self,
        level: ScopeLevel | str,
        cls: Callable[..., AsyncIterator[T]] | Callable[..., Iterator[T]],
        *args: Any,
        **kwargs: Any,
    ) -> None: ...

    @overload
    def __init__(
        self,
        level: ScopeLevel | str,
        cls: Callable[..., _AsyncGeneratorContextManager[T]] | Callable[..., _GeneratorContextManager[T]],
        *args: Any,
        **kwargs: Any,
    ) -> None: ...

    @overload
    def __init__(
        self,
        level: ScopeLevel | str,
        cls: Callable[..., Awaitable[T]],
        *args: Any,
        **kwargs: Any,
    ) -> None: ...

    @overload
    def __init__(
        self,
        level: ScopeLevel | str,
        cls: Callable[..., T],
        *args: Any,
        **kwargs: Any,
    ) -> None: ...

    def __init__(self, level: ScopeLevel | str, cls: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._level = ScopeLevel.parse(level)
        self._makes = cls
        self._factory = providers.Factory(_maker(cls), *args, **kwargs)
        super().__init__()

    @property
    def level(self) -> ScopeLevel:
        """One object per open scope of this level."""
        return self._level

    @property
    def cls(self) -> Callable[..., Any]:
        """What makes the object."""
        return self._makes

    def _provide(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        scope = current_scope()
        if scope is None:
            raise outside(str(self))
        holder = scope.at(self._level)
        kept = holder.kept(self)
        if kept is not None:
            return holder.value_of(kept, str(self)) if kept.value is NOTHING else kept.value
        holder.check_open(str(self))  # before it is made: nobody would end it
        with Visit(holder):  # what its maker asks for in its body, in a task or not, is that scope's too
            made = self._factory(*args, **kwargs)
            if inspect.isawaitable(made) or _is_async(made):
                return holder.keep(self, _Object(made))
            value = made.__enter__() if _is_sync(made) else made
        holder.put(self, value, _Object(made))
        return value

    @property
    def related(self) -> Iterator[providers.Provider[Any]]:
        """The providers it is given, and those that override it."""
        yield from self._factory.related
        yield from super().related

    def __deepcopy__(self, memo: dict[int, Any] | None) -> ScopedSingleton[T]:
        memo = {} if memo is None else memo
        copied: ScopedSingleton[T] | None = memo.get(id(self))
        if copied is None:
            copied = memo[id(self)] = ScopedSingleton(self._level, self._makes)
            copied._factory = providers.deepcopy(self._factory, memo)
            self._copy_overridings(copied, memo)
        return copied

    def __str__(self) -> str:
        return f"ScopedSingleton({self._level.name}, {getattr(self._makes, '__qualname__', self._makes)})"

    __repr__ = __str__


def _maker(cls: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(cls):
        return asynccontextmanager(cls)
    if inspect.isgeneratorfunction(cls):
        return contextmanager(cls)
    return cls


def _is_async(made: object) -> bool:
    """Whether it is what ``@asynccontextmanager`` makes."""
    return isinstance(made, AsyncContextDecorator)


def _is_sync(made: object) -> bool:
    """Whether it is what ``@contextmanager`` makes."""
    return isinstance(made, ContextDecorator)


class _Object(AbstractAsyncContextManager[Any]):
    """The life of one object: made (when that is awaited), entered and left, or closed."""

    __slots__ = ("_made",)

    def __init__(self, made: Any) -> None:
        self._made = made

    async def __aenter__(self) -> Any:
        if inspect.isawaitable(self._made):
            self._made = await when_made(self._made)
        made = self._made
        if _is_async(made):
            return await made.__aenter__()
        return made.__enter__() if _is_sync(made) else made

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        made = self._made
        if _is_async(made):
            await made.__aexit__(kind, error, trace)
        elif _is_sync(made):
            made.__exit__(kind, error, trace)
        else:
            close = getattr(made, "aclose", None) or getattr(made, "close", None)
            ended = close() if callable(close) else None
            if inspect.isawaitable(ended):
                await ended
