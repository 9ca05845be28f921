"""WorkflowDefinition: which steps a workflow has, in which order, and how each is tried."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from nebula_resource.errors import ConfigurationError, FieldViolation, ValidationFailed
from nebula_resource.model.backoff import Backoff
from nebula_resource.model.scope import Scope

__all__ = ["Parallel", "Retry", "Step", "WorkflowDefinition", "is_retryable"]

Results: TypeAlias = Mapping[str, Any]
Arguments: TypeAlias = (
    "Sequence[Any] | Mapping[str, Any] | Callable[[Results], Sequence[Any] | Mapping[str, Any]]"
)


def is_retryable(error: BaseException) -> bool:
    """Whether the same call may succeed later: ours say so themselves, the network's errors and timeouts pass."""
    said = getattr(error, "retryable", None)
    return said if isinstance(said, bool) else isinstance(error, (ConnectionError, TimeoutError))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a step is tried, and how long it waits in between: ``base × 2ⁿ`` up to ``max``, ± 20 %.

    Raises `ValidationFailed`.
    """

    attempts: int = 3
    """Tries in all; 1: no retry."""
    base: float = 0.2
    """Seconds after the first failure."""
    max: float = 5.0
    """Seconds, at most."""
    when: Callable[[BaseException], bool] = is_retryable
    """Which errors are worth another try."""

    def __post_init__(self) -> None:
        violations = []
        if self.attempts < 1:
            violations.append(FieldViolation("attempts", "must be at least 1", str(self.attempts)))
        try:
            Backoff(base=self.base, max=self.max)
        except ValidationFailed as error:
            violations += error.violations
        if violations:
            raise ValidationFailed(violations)

    @property
    def backoff(self) -> Backoff:
        """The waits as a value."""
        return Backoff(base=self.base, max=self.max)


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a workflow.

    Args:
        action: an ``@action``, or any async function; the latter is run in an ACTION scope all the same. A parameter
            annotated `ActionContext`, or named ``ctx``, is given the context.
        args: positional arguments, keyword arguments as a mapping, or a function that makes either from the results of
            the steps before (``lambda results: (results["reserve"],)``).
        timeout: seconds for one attempt; None: no limit.
        retry: how often, and how long in between.
        name: what it is called in results, progress and action ids; the function's name when not given.
    """

    action: Callable[..., Any]
    args: Arguments = ()
    timeout: float | None = None
    retry: Retry = field(default_factory=Retry)
    name: str = ""
    context_parameter: str | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if not inspect.iscoroutinefunction(self.action):
            raise ConfigurationError(
                f"a step runs an async function, and {self.action!r} is none (a blocking one can run in a thread: "
                "await asyncio.to_thread(...))"
            )
        if self.timeout is not None and not self.timeout > 0:
            raise ValidationFailed([FieldViolation("timeout", "must be above 0 seconds", str(self.timeout))])
        if not self.name:
            object.__setattr__(self, "name", self.function.__name__)
        if not callable(self.args):
            self.arguments({})  # they are known, and so is a slip
        Scope.action(self.name)  # refuses what cannot be an id
        object.__setattr__(self, "context_parameter", _context_parameter(self.action))

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself, whatever `functools.partial` was put around it."""
        action = self.action
        while isinstance(action, partial):
            action = action.func
        return action

    def arguments(self, results: Results) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments, given the results so far."""
        given = self.args(results) if callable(self.args) else self.args
        if isinstance(given, Mapping):
            return (), dict(given)
        if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
            raise ConfigurationError(
                f"the args of step '{self.name}' are no sequence and no mapping: one argument is written (value,)"
            )
        return tuple(given), {}


@dataclass(frozen=True, slots=True)
class Parallel:
    """Steps that run together, at most ``limit`` at a time (None: all). One that fails cancels the others.

    Raises `ValidationFailed` for a limit below 1, and for what is no list of steps.
    """

    steps: Sequence[Step]
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValidationFailed([FieldViolation("limit", "must be at least 1", str(self.limit))])
        object.__setattr__(self, "steps", _listed(self.steps, Step))


@dataclass(frozen=True, slots=True)
class WorkflowDefinition:
    """A workflow: its id and its steps in order, each a `Step` or a `Parallel` group.

    Raises `ValidationFailed` when two steps have one name, or something else stands where a list of steps must;
    `InvalidScope` when ``id`` cannot be one.
    """

    id: str
    steps: Sequence[Step | Parallel]

    def __post_init__(self) -> None:
        Scope.workflow(self.id)
        object.__setattr__(self, "steps", _listed(self.steps, Step, Parallel))
        seen: set[str] = set()
        twice = []
        for step in self:
            if step.name in seen:
                twice.append(
                    FieldViolation("steps", "must have different names: Step(..., name=...)", step.name)
                )
            seen.add(step.name)
        if twice:
            raise ValidationFailed(twice)

    def __iter__(self) -> Iterator[Step]:
        for step in self.steps:
            if isinstance(step, Parallel):
                yield from step.steps
            else:
                yield step

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _listed(given: Any, *kinds: type[Any]) -> tuple[Any, ...]:
    """The steps, if each is of one of these kinds."""
    if isinstance(given, (Step, Parallel)):
        kind = type(given).__name__
        raise ValidationFailed([FieldViolation("steps", f"must be a list: [{kind}(...)]", kind)])
    steps = tuple(given)
    wanted = " or ".join(f"{kind.__name__}(...)" for kind in kinds)
    violations = [
        FieldViolation(f"steps.{place}", f"must be {wanted}", getattr(each, "__name__", type(each).__name__))
        for place, each in enumerate(steps)
        if not isinstance(each, kinds)
    ]
    if violations:
        raise ValidationFailed(violations)
    return steps


def _context_parameter(action: Callable[..., Any]) -> str | None:
    for name, parameter in inspect.signature(action).parameters.items():
        if name == "ctx" or _is_context(parameter.annotation):
            return name
    return None


def _is_context(annotation: Any) -> bool:
    """Whether it is `ActionContext`, or that or None; in text, if annotations are postponed."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    told = {each.strip().rpartition(".")[2] for each in text.split("|")}
    return told - {"None"} == {"ActionContext"}
