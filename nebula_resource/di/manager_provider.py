"""ManagerProvider: the provider of an application's manager, with its start and its end."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

from dependency_injector import providers

from nebula_resource.errors import ConfigurationError
from nebula_resource.manager import Manager, ShutdownReport

__all__ = ["ManagerProvider"]

Setup: TypeAlias = "Callable[[Manager], Awaitable[object] | object]"


class ManagerProvider(providers.Provider[Manager]):
    """Gives one manager, made when it is first asked for; ``await init()`` registers what it keeps.

    A `ResourceContainer` calls ``init`` and ``shutdown`` in its ``init_resources`` and ``shutdown_resources``. It is
    deliberately no ``providers.Resource``: a ``Closing[...]`` marker anywhere above it would shut the manager down.

    Args:
        setup: called with the manager by ``init``: a function, plain or async, a provider that calls one, such as
            ``providers.Callable(register_all, settings=settings)``, or a provider of one (``providers.Dependency()``).
        **options: what `Manager` is given; providers give their objects.

    Raises `ConfigurationError` for a ``setup`` that cannot be called.
    """

    __slots__ = ("_factory", "_manager", "_ready", "_setup")

    def __init__(self, setup: Setup | providers.Provider[Any] | None = None, **options: Any) -> None:
        if setup is not None and not callable(setup):
            raise ConfigurationError(
                "the setup of ManagerProvider is a function that is called with the manager, or a provider"
            )
        self._setup = setup
        self._factory = providers.Factory(Manager, **options)
        self._manager: Manager | None = None
        self._ready = False
        super().__init__()
        self.disable_async_mode()

    def _provide(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._manager is None:
            made = self._factory(*args, **kwargs)
            if not isinstance(made, Manager):
                raise ConfigurationError(
                    "an option of ManagerProvider is awaited: a manager is made synchronously, so give it ready values"
                )
            self._manager = made
        return self._manager

    async def init(self) -> Manager:
        """Make the manager if need be and run the setup, once. When that fails, shut the manager down and raise."""
        overriding = self.last_overriding
        if overriding is not None:
            given: Manager = (
                await overriding.init() if isinstance(overriding, ManagerProvider) else overriding()
            )
            return given
        manager = self()
        if not self._ready:
            self._ready = True
            try:
                await self._set_up(manager)
            except BaseException:
                await self.shutdown()
                raise
        return manager

    async def _set_up(self, manager: Manager) -> None:
        if self._setup is None:
            return
        done = self._setup(manager)
        if callable(done):  # a provider of the function, not one that calls it
            done = done(manager)
        if inspect.isawaitable(done):
            await done

    async def shutdown(self, **limits: float) -> ShutdownReport | None:
        """Shut the manager down, if there is one; ``limits`` are those of `Manager.shutdown`. The next is a new one."""
        overriding = self.last_overriding
        if overriding is not None:
            return await overriding.shutdown(**limits) if isinstance(overriding, ManagerProvider) else None
        manager, self._manager, self._ready = self._manager, None, False
        return None if manager is None else await manager.shutdown(**limits)

    @property
    def related(self) -> Iterator[providers.Provider[Any]]:
        """The providers it is given, and those that override it."""
        if isinstance(self._setup, providers.Provider):
            yield self._setup
        yield from self._factory.related
        yield from super().related

    def __deepcopy__(self, memo: dict[int, Any] | None) -> ManagerProvider:
        memo = {} if memo is None else memo
        copied: ManagerProvider | None = memo.get(id(self))
        if copied is None:
            copied = memo[id(self)] = ManagerProvider()
            setup = self._setup
            copied._setup = (
                providers.deepcopy(setup, memo) if isinstance(setup, providers.Provider) else setup
            )
            copied._factory = providers.deepcopy(self._factory, memo)
            self._copy_overridings(copied, memo)
        return copied

    def __str__(self) -> str:
        return f"ManagerProvider({self._manager!r})" if self._manager is not None else "ManagerProvider()"

    __repr__ = __str__
