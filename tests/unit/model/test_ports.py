"""Ports: what stands in where nobody listens and nothing is limited."""

import inspect

from nebula_resource.model.ports import PoolObserver, Unlimited
from nebula_resource.model.reasons import CleanupReason


def test_without_a_budget_there_is_always_a_place() -> None:
    """Nothing is counted and nobody waits."""
    unlimited = Unlimited()
    assert all(unlimited.take() for _ in range(1000))
    unlimited.give_back()
    unlimited.want(3)


async def test_an_observer_overrides_what_it_wants_and_the_rest_does_nothing() -> None:
    """Every method may be called, none raises, none wants to be awaited by default."""
    observer = PoolObserver()
    assert not observer.hooks_create
    assert not observer.hooks_cleanup
    assert await observer.before_create() is None
    await observer.after_create(None, None)
    assert await observer.before_cleanup(CleanupReason.EXPIRED) is None
    await observer.after_cleanup(None, CleanupReason.EXPIRED, None)
    error = OSError("down")
    calls = {
        "created": (0.1,),
        "create_failed": (error,),
        "validation_failed": (None,),
        "body_failed": (error,),
        "retired": (CleanupReason.EXPIRED,),
        "cleaned_up": (CleanupReason.EXPIRED, None, 0.1),
        "rejected": ("timeout", 1.0),
        "leaked": (1.0, ("file:1 in f",)),
        "circuit_opened": ("create", 1.0),
        "circuit_closed": ("create",),
        "draining": (),
        "drained": (),
        "suspended": (),
        "resumed": (),
        "loop_blocked": ("create", 1.0),
        "failed": (error,),
    }
    for name, arguments in calls.items():
        assert getattr(observer, name)(*arguments) is None
    observer.resized(1, 2, old_min_size=0, old_max_size=1)
    assert not observer.traces
    with observer.around("create") as span:
        assert span is None
    synchronous = {
        name
        for name, method in inspect.getmembers(PoolObserver, inspect.isfunction)
        if not inspect.iscoroutinefunction(method)
    }
    assert synchronous == {*calls, "resized", "around"}, "every one of them was called here"
