"""A pipeline runs its stages in order, within their limits, and the worst of them speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nebula_resource.errors import ConfigurationError, ValidationFailed
from nebula_resource.health import (
    ConnectivityStage,
    DependencyStage,
    HealthPipeline,
    PerformanceStage,
    UtilizationStage,
)
from nebula_resource.model.context import ResourceContext
from nebula_resource.model.health import (
    Degraded,
    HealthStage,
    HealthState,
    HealthStatus,
    Healthy,
    Unhealthy,
    Unknown,
)
from nebula_resource.model.scope import Scope

CONTEXT = ResourceContext(Scope.GLOBAL)


class Fixed(HealthStage):
    """Answers, or does, always the same."""

    def __init__(
        self, name: str, answer: Any = None, *, takes: float = 0, timeout: float | None = None
    ) -> None:
        self.name = name
        self.timeout = timeout
        self.answer = answer
        self.takes = takes
        self.ran = 0

    async def check(self, instance: Any, context: ResourceContext) -> HealthStatus:
        self.ran += 1
        await asyncio.sleep(self.takes)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]  # some tests answer nonsense on purpose


def well(name: str, **more: Any) -> Fixed:
    """A stage that finds all well."""
    return Fixed(name, HealthStatus(Healthy()), **more)


async def run(*stages: HealthStage, timeout: float | None = None) -> HealthStatus:
    """Run these stages once."""
    return await HealthPipeline(stages, timeout=timeout).check("instance", CONTEXT)


async def test_no_stage_is_healthy() -> None:
    """A pipeline without a stage finds nothing wrong."""
    assert (await run()).state == Healthy()


async def test_all_run_in_order_and_add_up() -> None:
    """Each stage's result and time is kept; the whole takes as long as all."""
    status = await run(well("a", takes=1.5), well("b", takes=0.5))
    assert status.state == Healthy()
    assert status.latency_s == 2.0
    assert status.metadata == {
        "stages": [
            {"name": "a", "kind": "healthy", "latency_s": 1.5},
            {"name": "b", "kind": "healthy", "latency_s": 0.5},
        ]
    }


async def test_it_stops_at_unhealthy() -> None:
    """What comes after an Unhealthy stage is not run, and the stage is named."""
    after = well("after")
    status = await run(Fixed("a", HealthStatus(Degraded("slow", 0.9))), Fixed("b", Unhealthy("down")), after)
    assert status.state == Unhealthy("down")
    assert status.metadata["stage"] == "b"
    assert [stage["name"] for stage in status.metadata["stages"]] == ["a", "b"]
    assert after.ran == 0


async def test_the_worst_score_wins_and_the_earlier_of_equals() -> None:
    """Without an Unhealthy stage the lowest score is the verdict."""
    first, second = Degraded("first", 0.5), Degraded("second", 0.5)
    assert (await run(well("a"), Fixed("b", first), Fixed("c", second))).state == first
    assert (await run(Fixed("a", Unknown()), Fixed("b", Degraded("bad", 0.6)))).state == Degraded("bad", 0.6)
    assert (await run(Fixed("a", Unknown()), Fixed("b", first))).state == Unknown()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OSError("password=s3cret"), "a: raised OSError"),
        (TimeoutError(), "a: raised TimeoutError"),
        (True, "a: returned bool, not a HealthStatus"),
        (None, "a: returned NoneType, not a HealthStatus"),
    ],
)
async def test_a_stage_that_breaks_is_unhealthy(answer: object, reason: str) -> None:
    """Raising, or returning nonsense, names the stage, never the wording of the error."""
    status = await run(Fixed("a", answer))
    assert status.state == Unhealthy(reason)


async def test_a_stage_may_return_a_bare_state() -> None:
    """A HealthState does for a HealthStatus."""
    assert (await run(Fixed("a", Degraded("slow", 0.1)))).state == Degraded("slow", 0.1)


async def test_a_stage_has_its_limit_and_the_whole_has_one() -> None:
    """The earlier limit ends the stage, exactly then, and the check."""
    status = await run(well("a", takes=9, timeout=2))
    assert (status.state, status.latency_s) == (Unhealthy("a: timed out"), 2.0)
    status = await run(well("a", takes=3), well("b", takes=3, timeout=60), well("c"), timeout=5)
    assert (status.state, status.latency_s) == (Unhealthy("b: timed out"), 5.0)


async def test_a_cancelled_check_is_cancelled() -> None:
    """Cancelling the caller is no verdict."""
    task = asyncio.create_task(run(well("a", takes=10)))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_names_differ() -> None:
    """Two stages of one name are refused."""
    with pytest.raises(ConfigurationError, match="a, a"):
        HealthPipeline([well("a"), well("a")])
    assert repr(HealthPipeline([well("a"), well("b")])) == "<HealthPipeline a → b>"


# ── the built-in stages ───────────────────────────────────────────────────────────────────────────────────────────


def answering(answer: object, *, takes: float = 0.0) -> Callable[[Any], Awaitable[object]]:
    """A probe."""

    async def probe(instance: Any) -> object:
        assert instance == "instance"
        await asyncio.sleep(takes)
        return answer

    return probe


@pytest.mark.parametrize(("answer", "state"), [(True, Healthy()), (None, Healthy()), (1, Healthy())])
async def test_connectivity(answer: object, state: HealthState) -> None:
    """Anything but False is an answer."""
    assert (await run(ConnectivityStage(answering(answer)))).state == state


async def test_no_connectivity() -> None:
    """False is a no, and a probe that raises is too."""
    status = await run(ConnectivityStage(answering(False)))
    assert status.state == Unhealthy("connectivity: the probe said no")

    async def raising(instance: Any) -> object:
        raise ConnectionRefusedError

    status = await run(ConnectivityStage(raising))
    assert status.state == Unhealthy("connectivity: raised ConnectionRefusedError")
    status = await run(ConnectivityStage(answering(True, takes=9), timeout=1))
    assert status.state == Unhealthy("connectivity: timed out")


SLOW = "performance: slower than 1 s"


def test_performance_needs_three_in_a_row_either_way() -> None:
    """Three slow checks degrade, three quick ones below 0.8 × warn end it, and between the borders it stays."""
    stage = PerformanceStage(1.0, 3.0)
    told = [
        stage.judge(latency).state
        for latency in (2.0, 2.0, 0.1, 2.0, 2.0, 1.0, 2.0, 0.9, 0.1, 0.1, 0.8, 0.1, 0.1, 0.79, 1.0)
    ]
    assert told == [
        Healthy(),
        Healthy(),
        Healthy(),  # a quick one between: the row begins anew
        Healthy(),
        Healthy(),
        Degraded(SLOW, 0.0),
        Degraded(SLOW, 0.5),
        Degraded(SLOW, 0.0),  # below warn, but not quick
        Degraded(SLOW, 0.0),
        Degraded(SLOW, 0.0),
        Degraded(SLOW, 0.0),  # 0.8 × warn is not below it: the row of quick ones begins anew
        Degraded(SLOW, 0.0),
        Degraded(SLOW, 0.0),
        Healthy(),
        Healthy(),
    ]


def test_performance_fails_at_once() -> None:
    """From fail on it is Unhealthy, without three in a row."""
    stage = PerformanceStage(1.0, 3.0)
    assert stage.judge(3.0).state == Unhealthy("performance: slower than 3 s")
    assert stage.judge(2.9).state == Healthy()


@pytest.mark.parametrize(("warn", "fail"), [(0, 1), (1, 1), (2, 1), (float("nan"), 1), ("1", 2)])
def test_performance_times_must_make_sense(warn: Any, fail: Any) -> None:
    """warn is above 0 and fail above warn."""
    with pytest.raises(ValidationFailed):
        PerformanceStage(warn, fail)


async def test_performance_times_its_probe() -> None:
    """With a probe it measures that, alone."""
    pipeline = HealthPipeline([well("first", takes=50), PerformanceStage(1, 3, probe=answering(1, takes=2))])
    status = [await pipeline.check("instance", CONTEXT) for _ in range(3)][-1]
    assert status.state == Degraded(SLOW, 0.5)
    assert status.metadata["stages"][1]["metadata"] == {"measured_s": 2.0, "warn_s": 1, "fail_s": 3}


async def test_performance_without_a_probe_judges_the_check_so_far() -> None:
    """Without one the time that the stages before it took counts."""
    pipeline = HealthPipeline([ConnectivityStage(answering(True, takes=2)), PerformanceStage(1, 3)])
    states = [(await pipeline.check("instance", CONTEXT)).state for _ in range(3)]
    assert states == [Healthy(), Healthy(), Degraded(SLOW, 0.5)]
    assert (await PerformanceStage(1, 3).check("instance", CONTEXT)).state == Healthy()


async def test_two_resources_never_share_a_memory() -> None:
    """Stages of a policy are copied into each pipeline: one's slowness is not the other's."""
    shared = [PerformanceStage(1, 3, probe=answering(1, takes=2))]
    one, other = HealthPipeline(shared), HealthPipeline(shared)
    ill = [await one.check("instance", CONTEXT) for _ in range(3)][-1]
    assert ill.state == Degraded(SLOW, 0.5)
    assert (await other.check("instance", CONTEXT)).state == Healthy()


@pytest.mark.parametrize(
    ("shares", "state"),
    [
        ({}, Healthy()),
        ({"connections": None}, Healthy()),
        ({"connections": 0.79, "cpu": None}, Healthy()),
        ({"connections": 0.8}, Degraded("utilization: connections is nearly used up", 0.0)),
        ({"cpu": 0.85, "memory": 0.9}, Degraded("utilization: memory is nearly used up", 0.25)),
        ({"cpu": 1.0}, Degraded("utilization: cpu is nearly used up", 0.5)),
        ({"cpu": 8.0}, Degraded("utilization: cpu is nearly used up", 0.5)),
    ],
)
async def test_utilization(shares: dict[str, float | None], state: HealthState) -> None:
    """The fullest share counts from warn on, and full use alone never has callers refused."""
    found = (await run(UtilizationStage(lambda: shares))).state
    assert found.because == state.because
    assert found.score() == pytest.approx(state.score())
    assert found.is_usable()


async def test_utilization_at_the_edge() -> None:
    """With warn at 1 full use is the whole impact; a share that is none is refused."""
    stage = UtilizationStage(lambda: {"cpu": 1.0}, warn=1)
    assert (await run(stage)).state == Degraded("utilization: cpu is nearly used up", 0.5)
    with pytest.raises(ValidationFailed):
        UtilizationStage(dict, warn=1.5)


async def test_dependencies() -> None:
    """An Unhealthy dependency degrades, naming it; anything better does not."""
    states: dict[str, HealthState] = {"a": Healthy(), "b": Degraded("x", 0.9), "c": Unknown()}
    stage = DependencyStage(lambda: states)
    assert (await run(stage)).state == Healthy()
    states["d"] = Unhealthy("down")
    status = await run(stage)
    assert status.state == Degraded("dependency 'd' is down", 0.5)
    assert status.metadata["stages"][0]["metadata"]["d"] == "unhealthy"


async def test_utilization_of_this_process_by_default() -> None:
    """Without a measure of its own it looks at processor and memory of this process."""
    status = await UtilizationStage().check("instance", CONTEXT)
    assert 0 < status.metadata["memory"] < 1
