"""Canary: it says whether FastAPI's private exit stacks do what the adapter needs, and it notices when they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fastapi.routing
import pytest
from fastapi import FastAPI

from nebula_resource.fastapi import adapter, canary
from nebula_resource.fastapi.canary import private_names_work, watch_fastapi


@pytest.fixture
def forgetful() -> Iterator[Callable[[], None]]:
    """Asked anew in the test, and anew by whoever comes after it."""
    private_names_work.cache_clear()
    yield private_names_work.cache_clear
    private_names_work.cache_clear()


def test_the_pinned_fastapi_is_the_one_we_know(forgetful: Callable[[], None]) -> None:
    """In the FastAPI that is installed the private way works: the adapter is used, not the fallback."""
    assert private_names_work()
    assert watch_fastapi("/well") == ["endpoint ends well", "response starts", "response ends well"]
    assert watch_fastapi("/badly") == [
        "endpoint ends with HTTPException",
        "response ends with HTTPException",
        "response starts",
    ]


async def test_it_is_asked_inside_a_running_loop_as_well(forgetful: Callable[[], None]) -> None:
    """A resource that is named when the application runs already is no different."""
    assert private_names_work()


@pytest.mark.parametrize("name", ["endpoint", "response"])
def test_a_name_that_is_gone_is_noticed(
    forgetful: Callable[[], None], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Another FastAPI, without one of the stacks."""
    monkeypatch.setitem(adapter.PRIVATE_NAMES, name, "nowhere")
    assert not private_names_work()


def test_stacks_that_end_in_another_order_are_noticed(
    forgetful: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FastAPI that closes the handler's stack after the answer would commit too late."""
    monkeypatch.setitem(adapter.PRIVATE_NAMES, "endpoint", "fastapi_inner_astack")
    assert not private_names_work()


def test_a_fastapi_that_waits_is_not_the_one_we_know(
    forgetful: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary does not wait: what does not come to its end at once is another FastAPI."""
    called: list[str] = []

    class Waits(FastAPI):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            called.append("asked")

            class Never:
                def __await__(self) -> Any:
                    yield

            await Never()

    monkeypatch.setattr(canary, "FastAPI", Waits)
    assert not private_names_work()
    assert called


def test_a_fastapi_that_broke_is_not_hidden(
    forgetful: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that has nothing to do with the names is raised, not taken for an answer."""

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(fastapi.routing, "solve_dependencies", broken)
    with pytest.raises(ZeroDivisionError):
        private_names_work()
