"""Made: values are waited for together, and what nobody waits for any more is let go without a word."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nebula_resource.di.made import all_made, let_go, when_made


async def _value(value: object, delay: float = 0.0) -> object:
    await asyncio.sleep(delay)
    return value


async def _fails(delay: float = 0.0) -> object:
    await asyncio.sleep(delay)
    raise LookupError("not made")


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _end(future: asyncio.Future[Any], error: Exception | None) -> None:
    if error is None:
        future.set_result("late")
    else:
        future.set_exception(error)


def _task() -> asyncio.Task[object]:
    return asyncio.get_running_loop().create_task(_value("late", 60))


async def test_values_are_waited_for_together() -> None:
    """Two of one second take one second; each has its name."""
    loop = asyncio.get_running_loop()
    future = _future()
    loop.call_later(1, future.set_result, "c")
    before = loop.time()
    found = await all_made([("a", _value("a", 1)), ("b", _value("b", 1)), ("c", future)])
    assert found == {"a": "a", "b": "b", "c": "c"}
    assert loop.time() - before == pytest.approx(1)


async def test_the_first_error_ends_the_waiting() -> None:
    """It is raised as itself; what was waited for besides is let go."""
    task, future = _task(), _future()
    with pytest.raises(LookupError, match="not made"):
        await all_made([("a", task), ("b", _fails(1)), ("c", future)])
    await asyncio.sleep(0)
    assert task.cancelled()
    assert not future.done()


@pytest.mark.parametrize("alone", [True, False])
async def test_a_future_outlives_whoever_waited_for_it(alone: bool) -> None:
    """dependency-injector sets its result or its error all the same, and the loop hears nothing of it."""
    news: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: news.append(context))
    for error in (LookupError(), None):
        futures = [_future()] if alone else [_future(), _future()]
        waits = loop.create_task(all_made([(str(number), each) for number, each in enumerate(futures)]))
        await asyncio.sleep(1)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        while futures:
            _end(futures.pop(), error)
        await asyncio.sleep(1)
        del waits
    gc.collect()
    await asyncio.sleep(0)
    assert news == []


@pytest.mark.parametrize("make", [_task, lambda: asyncio.get_running_loop().create_task(_fails(60))])
async def test_a_task_is_cancelled_with_whoever_waits_for_it(
    make: Callable[[], asyncio.Task[object]],
) -> None:
    """An async function of the user's is his to end."""
    task = make()
    waits = asyncio.get_running_loop().create_task(when_made(task))
    await asyncio.sleep(1)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert task.cancelled()


async def test_what_nobody_waited_for_is_let_go() -> None:
    """A coroutine is closed, a task cancelled, a future left; what has ended, or is of another kind, is not touched."""

    class Own:
        def __await__(self) -> Any:
            return _value("own").__await__()

    ended = _future()
    ended.cancel()
    work, task, future = _value("never"), _task(), _future()
    awaited: list[tuple[str, Awaitable[Any]]] = [
        ("own", Own()), ("work", work), ("task", task), ("future", future), ("ended", ended)
    ]  # fmt: skip  # one list
    let_go(awaited)
    await asyncio.sleep(0)
    assert task.cancelled()
    assert not future.done()
    with pytest.raises(RuntimeError, match="reuse"):
        await work
    assert await when_made(Own()) == "own"
