"""WorkflowDefinition: what may be a workflow, and what a step is called with."""

from __future__ import annotations

from typing import Any

import pytest

from nebula_resource import (
    ConfigurationError,
    InvalidScope,
    PoolExhausted,
    ResourceNotFound,
    ValidationFailed,
)
from nebula_resource.workflow import ActionContext, Parallel, Retry, Step, WorkflowDefinition, is_retryable


async def one(value: int) -> int:
    """A step."""
    return value


async def two(value: int, ctx: ActionContext) -> int:
    """A step with a context."""
    return value


async def test_steps_have_names_and_may_stand_together() -> None:
    """A step is called as its function, or as it says; iteration goes through groups."""
    definition = WorkflowDefinition(
        "w", [Step(one, (1,)), Parallel([Step(two), Step(one, name="again")], limit=1)]
    )
    assert [step.name for step in definition] == ["one", "two", "again"]
    assert len(definition) == 3
    assert isinstance(definition.steps, tuple)


def test_two_steps_of_one_name_are_refused() -> None:
    """Results, progress and action ids are by name."""
    with pytest.raises(ValidationFailed, match="different names"):
        WorkflowDefinition("w", [Step(one), Parallel([Step(one)])])


def test_what_cannot_be_a_step_is_refused() -> None:
    """A plain function, a timeout or limit of nothing, ids that cannot be."""
    with pytest.raises(ConfigurationError, match="async function"):
        Step(len)
    with pytest.raises(ValidationFailed, match="timeout"):
        Step(one, timeout=0)
    with pytest.raises(ValidationFailed, match="limit"):
        Parallel([], limit=0)
    with pytest.raises(InvalidScope):
        WorkflowDefinition("", [])
    wrong: Any  # a user without a type checker
    for wrong in (Step(one), Parallel([Step(one)])):
        for kind in (Parallel, lambda steps: WorkflowDefinition("w", steps)):
            with pytest.raises(
                ValidationFailed, match=r"steps: must be a list: \[(Step|Parallel)\(\.\.\.\)\]"
            ):
                kind(wrong)
    wrong = [Step(one), two, None, Parallel([])]
    with pytest.raises(ValidationFailed) as caught:
        WorkflowDefinition("w", wrong)
    assert list(map(str, caught.value.violations)) == [
        "steps.1: must be Step(...) or Parallel(...) (got two)",
        "steps.2: must be Step(...) or Parallel(...) (got NoneType)",
    ]
    with pytest.raises(ValidationFailed) as caught:
        Parallel(wrong)
    assert [each.field for each in caught.value.violations] == ["steps.1", "steps.2", "steps.3"]
    with pytest.raises(InvalidScope):
        Step(one, name="x" * 200)


def test_a_step_is_tried_three_times() -> None:
    """The numbers that are promised: three tries, 0.2 s after the first, 5 s at most."""
    retry = Step(one).retry
    assert (retry.attempts, retry.base, retry.max) == (3, 0.2, 5.0)


def test_every_violation_of_a_retry_is_told() -> None:
    """All at once."""
    with pytest.raises(ValidationFailed) as caught:
        Retry(attempts=0, base=0, max=-1)
    assert {violation.field for violation in caught.value.violations} == {"attempts", "base", "max"}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((1, 2), ((1, 2), {})),
        ([1], ((1,), {})),
        ({"value": 1}, ((), {"value": 1})),
        (lambda results: (results["one"],), (("first",), {})),
        (lambda results: {"value": results["one"]}, ((), {"value": "first"})),
    ],
)
def test_arguments_come_in_every_shape(args: Any, expected: Any) -> None:
    """By position, by name, or made from the results so far."""
    assert Step(one, args).arguments({"one": "first"}) == expected


@pytest.mark.parametrize("args", ["text", b"bytes", 5])
def test_a_single_value_is_no_arguments(args: Any) -> None:
    """The common slip, told with what to write: at once, or when the function that makes them is asked."""
    with pytest.raises(ConfigurationError, match=r"\(value,\)"):
        Step(one, args)
    step = Step(one, lambda results: args)
    with pytest.raises(ConfigurationError, match=r"\(value,\)"):
        step.arguments({})


def test_who_gets_the_context() -> None:
    """A parameter named ctx, or annotated, whatever it is called."""

    async def named(ctx: Any) -> None: ...

    async def annotated(where: ActionContext) -> None: ...

    async def optional(where: ActionContext | None = None) -> None: ...

    async def evaluated(where: Any = None) -> None: ...

    evaluated.__annotations__["where"] = ActionContext | None  # as without postponed annotations

    async def neither(context: int, contexts: list[ActionContext], other: int | None = None) -> None: ...

    steps = [Step(fn).context_parameter for fn in (named, annotated, optional, evaluated, neither)]
    assert steps == ["ctx", "where", "where", "where", None]


def test_what_is_worth_another_try() -> None:
    """Ours say so themselves; of the others the network's errors and timeouts."""
    assert is_retryable(PoolExhausted(max_size=1, waiting=1))
    assert not is_retryable(ResourceNotFound("db"))
    assert is_retryable(ConnectionResetError())
    assert is_retryable(TimeoutError())
    assert not is_retryable(FileNotFoundError())
    assert not is_retryable(ValueError())
