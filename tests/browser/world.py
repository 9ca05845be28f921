"""PageWorld: a manager and its admin application on a loop in a thread, so that a browser can be driven from here."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from fastapi import FastAPI

from nebula_resource.admin import KeyList, create_admin
from nebula_resource.manager import Manager
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import HealthCheckable, HealthPolicy, HealthStatus
from nebula_resource.model.resource import Resource
from nebula_resource.model.scope import Scope
from nebula_resource.quarantine import QuarantinePolicy, RecoveryBackoff
from tests.app.served_admin import serving

__all__ = ["PageWorld", "Piece"]

T = TypeVar("T")

QUIET = HealthPolicy(interval=3600.0, failure_threshold=1, success_threshold=1)
"""No check comes by itself while a test runs."""
SLOW = QuarantinePolicy(backoff=RecoveryBackoff(base=600, max=900, jitter=0))
"""Nothing leaves a quarantine by itself while a test runs."""
PATIENCE = 30.0  # seconds; a busy machine


class Piece(Resource[None, object], HealthCheckable):
    """A resource that is as well as it is told to be."""

    def __init__(self, id: str, dependencies: tuple[str, ...] = ()) -> None:
        self.id = id
        self.dependencies = dependencies
        self.found = HealthStatus.healthy()

    async def create(self, config: None, context: ResourceContext) -> object:
        return object()

    async def health_check(self, instance: object, context: ResourceContext) -> HealthStatus:
        return self.found


class PageWorld:
    """``with PageWorld() as world``: what it is told to do, it does in its own thread, and answers when it is done.

    Args:
        auth: the keys; None: whoever is on this machine may do everything.
    """

    def __init__(self, auth: KeyList | None = None) -> None:
        self._auth = auth
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="page-world", daemon=True)
        self._stack = AsyncExitStack()
        self.pieces: dict[str, Piece] = {}
        self.manager: Manager
        self.app: FastAPI
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.do(self._stack.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()

    async def _open(self) -> None:
        self.manager = await self._stack.enter_async_context(Manager(health=QUIET, quarantine=SLOW))
        self.app = create_admin(self.manager, self._auth)
        self.port = await self._stack.enter_async_context(serving(self.app))

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Have it done in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def call(self, work: Callable[[], T]) -> T:
        """The same for what needs no waiting."""

        async def called() -> T:
            return work()

        return self.do(called())

    def add(self, *ids: str, needs: Iterable[str] = (), tenant: str | None = None, **options: Any) -> None:
        """Register pieces that need the same; none makes an instance before somebody wants one."""
        scope = Scope.GLOBAL if tenant is None else Scope.tenant(tenant)
        given: dict[str, Any] = {"pool": {"min_size": 0, "max_size": 4}, **options}

        async def register() -> None:
            for name in ids:
                piece = self.pieces[name] = Piece(name, tuple(needs))
                await self.manager.register(piece, scope=scope, **given)

        self.do(register())

    def find(self, id: str, status: HealthStatus) -> None:
        """A check finds this."""
        self.pieces[id].found = status
        self.do(self.manager.check(id))

    def check_all(self) -> None:
        """Look at each."""

        async def check() -> None:
            for name in self.pieces:
                await self.manager.check(name)

        self.do(check())

    def use(self, *ids: str) -> None:
        """Somebody takes an instance of each, and gives it back."""

        async def use() -> None:
            for name in ids:
                async with self.manager.acquire(name):
                    pass

        self.do(use())

    def hold(self, id: str, callers: int) -> None:
        """So many callers want an instance and keep it until the world ends; who finds none waits."""

        async def keep() -> None:
            async with self.manager.acquire(id):
                await asyncio.Event().wait()

        async def begin() -> None:
            for number in range(callers):
                task = asyncio.create_task(keep(), name=f"holder-{number}")
                self._stack.push_async_callback(_end, task)

        self.do(begin())


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
