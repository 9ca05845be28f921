"""Action: an async function that runs in an ACTION scope of its own, its markers resolved in it."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar

from dependency_injector.wiring import inject

from nebula_resource.di.injection import Injection, is_marker, shown
from nebula_resource.di.leased import Leased
from nebula_resource.di.made import all_made, let_go
from nebula_resource.di.signature import readable_signature, without
from nebula_resource.errors import ConfigurationError
from nebula_resource.manager.action_scope import end_action, open_action
from nebula_resource.manager.current import enter, leave
from nebula_resource.manager.open_scope import NOTHING, OpenScope
from nebula_resource.manager.scope_end import end_scopes
from nebula_resource.model.scope import MAX_ID_LENGTH

__all__ = ["action"]

P = ParamSpec("P")
R = TypeVar("R")

Positions = tuple[tuple[str, int], ...]
Waiting = tuple[str, OpenScope, Any, str]
Made = tuple[str, Awaitable[Any]]
_NONE: Sequence[Waiting] = ()
_NOTHING_MADE: Sequence[Made] = ()


def action(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]:
    """Run every call of ``fn`` in an ACTION scope of its own, with what its markers stand for.

    ``async def charge(order_id: str, db: AsyncSession = Provide["db"])``: the lease is acquired in the action's scope
    and ends with the call, told how that went. An argument that is given is not acquired. Called inside an action, it
    is one beside it, under the nearest EXECUTION. Its id is the one an executor prepared, else ``<qualname>#<n>``.

    The call raises `NoOpenScope` where nothing is open around it, and `ConfigurationError` for a marker that no wired
    container resolves: the function never sees a marker.

    Raises:
        ConfigurationError: ``fn`` is no async function, or has a marker that cannot work.
    """
    _refuse_what_cannot_wait(fn)
    injection, signature = _injected(fn)
    run = _bare(fn) if injection is None else _injecting(injection, signature)
    functools.update_wrapper(run, fn)
    # wire() looks for markers through wrappers too, and would inject once more, outside the scope.
    vars(run)["__signature__"] = signature if injection is None else without(signature, injection.markers)
    vars(run)["opens_action"] = True  # an executor need not
    return run


# ── what it does when it is called ──


def _bare(fn: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """An action without markers."""
    name, new_id = fn.__qualname__, _ids(fn)

    async def run(*args: Any, **kwargs: Any) -> Any:
        scope = open_action(name, new_id)
        token = enter(scope)
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            leave(scope, token)
            await end_scopes([scope], error)
            raise
        if not end_action(scope, token):
            await end_scopes([scope], None)
        return result

    return run


def _injecting(injection: Injection, signature: inspect.Signature) -> Callable[..., Coroutine[Any, Any, Any]]:
    """An action with markers."""
    fn = injection.original
    name, new_id = fn.__qualname__, _ids(fn)
    resolve = _Resolver(injection, signature)

    async def run(*args: Any, **kwargs: Any) -> Any:
        scope = open_action(name, new_id)
        token = enter(scope)
        try:
            leased, made = resolve(scope, len(args), kwargs)
            if leased or made:
                await _arrived(leased, made, kwargs)
            result = await fn(*args, **kwargs)
        except BaseException as error:
            leave(scope, token)
            await end_scopes([scope], error)
            raise
        if not end_action(scope, token):
            await end_scopes([scope], None)
        return result

    return run


async def _arrived(leased: Sequence[Waiting], made: Sequence[Made], kwargs: dict[str, Any]) -> None:
    """Wait for what is on its way, and put it into ``kwargs``."""
    try:
        for parameter, holder, slot, key in leased:
            kwargs[parameter] = await holder.wait(slot, key)
    except BaseException:
        let_go(made)
        raise
    if made:
        kwargs.update(await all_made(made))


class _Resolver:
    """Finds the arguments of one function: leases straight from the scope, all else from its provider."""

    __slots__ = ("_injection", "_positions")

    def __init__(self, injection: Injection, signature: inspect.Signature) -> None:
        self._injection = injection
        self._positions = _positions(signature, injection)

    def __call__(
        self, scope: OpenScope, given: int, kwargs: dict[str, Any]
    ) -> tuple[Sequence[Waiting], Sequence[Made]]:
        """Put what is at hand into ``kwargs``; return the leases that are on their way, and what is being made.

        ``given`` is the number of positional arguments.
        """
        waiting, made = _NONE, _NOTHING_MADE
        wired = self._injection.providers
        try:
            for parameter, position in self._positions:
                if position < given or (parameter in kwargs and not is_marker(kwargs[parameter])):
                    continue
                provider = wired.get(parameter)
                if type(provider) is not Leased or provider.last_overriding is not None:
                    if provider is None:
                        raise _unresolved(self._injection, parameter)
                    kwargs[parameter] = value = provider()
                    if inspect.isawaitable(value):
                        made = [*made, (parameter, value)]
                    continue
                key = provider._key
                holder, slot = (scope, key) if provider._hold is None else provider.slot_in(scope)
                kwargs[parameter] = value = holder.take(slot, key)
                if value is NOTHING:
                    # Every lease is on its way before the first is waited for.
                    waiting = [*waiting, (parameter, holder, slot, key)]
        except BaseException:
            let_go(made)
            raise
        return waiting, made


def _ids(fn: Callable[..., Any]) -> Callable[[], str]:
    """Makes ``<qualname>#<n>``, shortened at its beginning where a scope's id could not hold it."""
    numbers = itertools.count(1)
    name = fn.__qualname__[-(MAX_ID_LENGTH - 20) :]
    return lambda: f"{name}#{next(numbers)}"


def _unresolved(injection: Injection, parameter: str) -> ConfigurationError:
    return ConfigurationError(
        f"{shown(injection.markers[parameter])} of '{parameter}' in {injection.qualified_name} is not resolved: wire a "
        f"container that has it: nebula_resource.di.wire(container, {injection.original.__module__!r})"
    )


# ── what it asks when it decorates ──

_KEYWORD_ONLY = 1 << 30
"""In place of a position: no number of positional arguments reaches it."""


def _refuse_what_cannot_wait(fn: Any) -> None:
    if isinstance(fn, (staticmethod, classmethod)):
        raise ConfigurationError(f"write @action below @{type(fn).__name__}, next to the function")
    if inspect.isfunction(fn) and inspect.iscoroutinefunction(fn):
        return
    name = getattr(fn, "__qualname__", repr(fn))
    if inspect.isasyncgenfunction(fn):
        raise ConfigurationError(
            f"@action {name} is an async generator: an action returns once; open the scope around the loop instead: "
            "async with manager.scope(action=...)"
        )
    raise ConfigurationError(
        f"@action {name} is no async function, and what it injects has to be awaited: write async def (a blocking body can "
        "run in a thread: await asyncio.to_thread(...))"
    )


def _injected(fn: Callable[..., Any]) -> tuple[Injection | None, inspect.Signature]:
    """The function under dependency-injector's own ``@inject``; None when there is nothing to inject."""
    already = Injection.of(fn)
    if already is not None:
        fn = already.original
    signature = readable_signature(fn)
    if already is None:
        if not any(_has_marker(parameter) for parameter in signature.parameters.values()):
            return None, signature
        vars(fn)["__signature__"] = signature  # where @inject looks
        already = Injection.of(inject(fn))
        assert already is not None, "inject registers what it patches"
    for parameter in already.closing:
        raise ConfigurationError(
            f"Closing[...] of '{parameter}' in {fn.__qualname__} would hide errors from what it closes and close resources of "
            "the whole application; an action's leases end by themselves: write Provide[...]"
        )
    return already, signature


def _has_marker(parameter: inspect.Parameter) -> bool:
    metadata = getattr(parameter.annotation, "__metadata__", ())
    return is_marker(parameter.default) or any(map(is_marker, metadata))


def _positions(signature: inspect.Signature, injection: Injection) -> Positions:
    """For each marked parameter the number of positional arguments that leave it out."""
    found: list[tuple[str, int]] = []
    takes_more = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in signature.parameters.values())
    for position, parameter in enumerate(signature.parameters.values()):
        if parameter.name not in injection.markers:
            continue
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            found.append((parameter.name, _KEYWORD_ONLY))
            continue
        if takes_more or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ConfigurationError(
                f"'{parameter.name}' of {injection.qualified_name} is injected by name: put it behind * or *args"
            )
        found.append((parameter.name, position))
    return tuple(found)
