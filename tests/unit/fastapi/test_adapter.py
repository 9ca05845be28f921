"""Adapter: what is left on a stack ends there, with a plain call where that is enough and awaited where it is not."""

from __future__ import annotations

from contextlib import AsyncExitStack, nullcontext
from typing import Any

import pytest

from nebula_resource.fastapi.adapter import leave


class Broken(Exception):
    """What a body raises."""


class Left:
    """Says how it was ended."""

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.seen: list[str] = []

    def end_now(self) -> bool:
        self.seen.append("now")
        return not self.waits

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object, /) -> None:
        self.seen.append(f"awaited {type(error).__name__}")


class Public:
    """A stack that keeps its list elsewhere: only what is documented can be used of it."""

    def __init__(self) -> None:
        self.inner = AsyncExitStack()

    def push_async_exit(self, ending: Any) -> None:
        self.inner.push_async_exit(ending)

    async def __aenter__(self) -> Public:
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self.inner.__aexit__(*error)


@pytest.mark.parametrize(
    ("waits", "error", "seen"),
    [
        (False, None, ["now"]),
        (True, None, ["now", "awaited NoneType"]),
        (False, Broken(), ["awaited Broken"]),
    ],
)
async def test_it_is_awaited_only_where_it_has_to_wait(
    waits: bool, error: Exception | None, seen: list[str]
) -> None:
    """What is put back is what the stack ends next, with the same error."""
    left = Left(waits=waits)
    after: list[str] = []

    async def then() -> None:
        after.extend(left.seen)

    with nullcontext() if error is None else pytest.raises(Broken):
        async with AsyncExitStack() as stack:
            stack.push_async_callback(then)
            leave(stack, left)
            if error is not None:
                raise error
    assert left.seen == after == seen


@pytest.mark.parametrize("error", [None, Broken()])
async def test_without_the_private_name_it_is_left_as_documented(error: Exception | None) -> None:
    """Another `AsyncExitStack` than we know costs a coroutine, and ends it all the same."""
    left = Left(waits=False)
    with nullcontext() if error is None else pytest.raises(Broken):
        async with Public() as stack:
            leave(stack, left)  # type: ignore[arg-type]  # that is the point
            if error is not None:
                raise error
    assert left.seen == [f"awaited {type(error).__name__}"]
