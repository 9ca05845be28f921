"""Every scene: the whole product of the cancellation sweeps over a pool, and what plays it on all processors.

`make sweep` plays all of it; ``python -m tests.races.every_scene --help`` says what else there is. The gate takes its
scenes from the same enumeration (tests/races/test_every_scene.py).

Each scene is one of a `Family`: every step of the resource goes in every way, and at every turn of the loop somebody
releases and somebody is cancelled. Time is virtual and nothing is left to chance, so a scene tells of others that would
go exactly like it, turn by turn: those whose steps differ only where nobody asked, and those that differ only in turns
in which nobody had anything to do. They are counted and not played again; ``--whole`` plays them.
"""

import argparse
import itertools
import multiprocessing
import os
import random
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

from nebula_resource.testing.clock import VirtualTimeLoop
from nebula_resource.testing.mock import Outcome
from tests.races.pool_scene import STEP_LIMIT, VERBS, Played, Scene, play

__all__ = ["FAMILIES", "Family", "Part", "a_slice", "find", "run"]

OUTCOMES = tuple(Outcome)
SLOW = 1.0  # seconds after which a slow step ends
ENDS = (SLOW, 2 * SLOW, STEP_LIMIT, STEP_LIMIT + SLOW, 2 * STEP_LIMIT)
"""Seconds after a release at which steps that are slow, or are cut off, end: one of them, or one after the other."""

Outcomes = tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Scenes of one kind: all combinations of how its steps go, who is cancelled, and in which turns of the loop."""

    name: str
    steps: tuple[str, ...]
    victims: tuple[str, ...]
    releases: Sequence[int] = range(2)
    cancels: Sequence[int] = range(10)
    """The longest way back, over lease exit, recycle and cleanup to a creation, takes eight turns."""
    moments: tuple[float, ...] = (0.0,)
    """Seconds that pass before the release."""
    delays: tuple[float, ...] = (0.0,)
    """Seconds that pass between the release and the cancellation."""
    common: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else `Scene` is given."""

    @property
    def parts(self) -> "list[Part]":
        """Its scenes, parted by who is cancelled, and when the others do what they do."""
        whens = itertools.product(self.releases, self.victims, self.moments, self.delays)
        return [Part(self, *when) for when in whens]

    @property
    def ways(self) -> Iterator[Outcomes]:
        """All combinations of how its steps go."""
        return itertools.product(OUTCOMES, repeat=len(self.steps))

    @property
    def size(self) -> int:
        """How many scenes it has."""
        ways: int = len(OUTCOMES) ** len(self.steps)
        return len(self.parts) * len(self.cancels) * ways


@dataclass(frozen=True, slots=True)
class Part:
    """Scenes that differ only in how their steps go, and in the turn of the cancellation."""

    family: Family
    release: int
    victim: str
    at: float
    later: float

    def scene(self, cancel: int, outcomes: Outcomes) -> Scene:
        """The one whose steps go so."""
        return Scene(
            dict(zip(self.family.steps, outcomes, strict=True)),
            self.release,
            cancel,
            self.victim,
            at=self.at,
            later=self.later,
            **self.family.common,
        )

    def line(self, cancel: int, outcomes: Outcomes) -> str:
        """Its name; `find` understands it."""
        ways = ",".join(outcome.value for outcome in outcomes)
        return f"{self.family.name} {ways} {self.release} {cancel} {self.victim} {self.at} {self.later}"


# ── which there are ──

IN_LINE = ("first", "last", "releaser")
KEEPING = {"keepalive_interval": 1.0, "maintenance_interval": 1.0, "idle_timeout": 2.0}
SHARED_VERBS = ("drain", "close", "probe", "suspend", "replace")


OVERRIDDEN: Mapping[str, tuple[str, ...]] = {
    "all": ("create", "cleanup", "is_valid", "recycle", "lease_entry", "lease_exit"),
    "pooled": ("create", "cleanup", "is_valid", "recycle"),
    "checked": ("create", "cleanup", "is_valid"),
    "reset": ("create", "cleanup", "recycle"),
    "plain": ("create", "cleanup"),
}
"""The steps that a resource overrides. Without a lease a caller takes the quick way, without a check even that of a hit."""


def _families() -> Iterator[Family]:
    """For every choice of steps that a resource overrides, everything that may happen around them."""
    for name, steps in OVERRIDDEN.items():
        yield from _of_callers(name, steps)
        for verb in VERBS:
            yield Family(
                f"{verb}:{name}",
                steps,
                ("verb", "first", "releaser"),
                common={"verb": VERBS[verb], "max_size": 2, "callers": 2},
            )
        if "is_valid" in steps:
            yield from _of_upkeep(name, steps)
        if name in {"all", "pooled", "plain"}:
            yield from _of_a_shared_one(name, tuple(step for step in steps if step != "recycle"))


def _of_callers(name: str, steps: tuple[str, ...]) -> Iterator[Family]:
    """Callers come, wait, are served and leave."""
    two, roomy = {"callers": 2}, {"callers": 2, "max_size": 2}
    yield Family(f"line:{name}", steps, IN_LINE, common=two)
    yield Family(f"stubborn:{name}", steps, IN_LINE, common={**two, "forever": True})
    yield Family(f"retire:{name}", steps, IN_LINE, common={**two, "settings": {"on_error": "retire"}})
    yield Family(f"late:{name}", steps, IN_LINE[:2], common={**two, "late": True})
    yield Family(f"room:{name}", steps, IN_LINE, moments=(0.0, SLOW, STEP_LIMIT), common=roomy)
    yield Family(f"ends:{name}", steps, IN_LINE, releases=(0,), delays=ENDS, common=two)
    yield Family(f"token:{name}", steps, IN_LINE[:2], common={**roomy, "token": True})
    yield Family(f"token-late:{name}", steps, IN_LINE[:2], common={**two, "token": True, "late": True})
    yield Family(f"budget:{name}", steps, IN_LINE, common={**roomy, "places": 1})


def _of_upkeep(name: str, steps: tuple[str, ...]) -> Iterator[Family]:
    """Idle instances are reserved for a probe, or retired, as callers come and go."""
    alone = {"callers": 1, "max_size": 2, "settings": KEEPING}
    yield Family(f"keepalive:{name}", steps, ("first", "releaser"), moments=(0.5, 1.0, 2.0), common=alone)


def _of_a_shared_one(name: str, steps: tuple[str, ...]) -> Iterator[Family]:
    """One instance for all: they wait together for one creation or one check, and nothing is ever reset."""
    shared = {"max_size": 2, "capacity": 1, "settings": {"sharing": "shared"}}
    yield Family(f"shared:{name}", steps, IN_LINE, common=shared)
    yield Family(f"shared-late:{name}", steps, IN_LINE[:2], common={**shared, "late": True})
    yield Family(f"shared-token:{name}", steps, IN_LINE[:2], common={**shared, "token": True})
    yield Family(f"shared-budget:{name}", steps, IN_LINE, common={**shared, "places": 1})
    for verb in SHARED_VERBS:
        yield Family(
            f"shared-{verb}:{name}",
            steps,
            ("verb", "first", "releaser"),
            common={**shared, "callers": 2, "verb": VERBS[verb]},
        )


FAMILIES: Mapping[str, Family] = {family.name: family for family in _families()}
"""By name: what happens, and what the resource overrides."""


def find(line: str) -> Scene:
    """The scene of that name. Raises `ValueError` where there is none."""
    try:
        name, ways, release, cancel, victim, at, later = line.split()
        family = FAMILIES[name]
        outcomes = tuple(Outcome(way) for way in ways.split(","))
        return Part(family, int(release), victim, float(at), float(later)).scene(int(cancel), outcomes)
    except (KeyError, ValueError) as error:
        raise ValueError(f"there is no scene {line!r}: {error}") from error


def a_slice(family: Family, count: int, dice: random.Random) -> Iterator[tuple[Part, int, Outcomes]]:
    """So many scenes of a family, whichever: a part, the turn of the cancellation, and how the steps go."""
    parts = family.parts
    for _ in range(count):
        yield (
            dice.choice(parts),
            dice.choice(family.cancels),
            tuple(dice.choices(OUTCOMES, k=len(family.steps))),
        )


# ── playing them ──


@dataclass(slots=True)
class Told:
    """What a part has shown so far: how the steps went that were asked, by which steps those were."""

    steps: tuple[str, ...]
    seen: dict[tuple[int, ...], set[Outcomes]] = field(default_factory=dict)

    def knows(self, outcomes: Outcomes) -> bool:
        """Whether a scene that went so was played."""
        return any(tuple(outcomes[place] for place in places) in ways for places, ways in self.seen.items())

    def add(self, outcomes: Outcomes, asked: frozenset[str]) -> None:
        """A scene was played, and asked these steps."""
        places = tuple(place for place, step in enumerate(self.steps) if step in asked)
        self.seen.setdefault(places, set()).add(tuple(outcomes[place] for place in places))


@dataclass(slots=True)
class Result:
    """What came of some scenes."""

    played: int = 0
    of: int = 0
    """Scenes that there are, those not played for being alike included."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """The line of each scene that failed, and why."""

    def __iadd__(self, other: "Result") -> "Result":
        self.played += other.played
        self.of += other.of
        self.failed += other.failed
        return self


def play_alone(scene: Scene) -> Played:
    """Play a scene in a loop of its own, so that it goes the same whatever was played before.

    Raises what `play` raises, and AssertionError where something was told to nobody but the loop.
    """
    loop, told = VirtualTimeLoop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        played = loop.run_until_complete(play(scene))
    finally:
        loop.close()
    assert not told, f"only the loop heard of {told}"
    return played


def run(part: Part, *, whole: bool = False) -> Result:
    """Play the scenes of a part; those that are known to go like another one only when ``whole``."""
    result, over = Result(), Told(part.family.steps)
    # Ascending: once there is an idle turn before it, a later one is the same, or the same as with an earlier release.
    for cancel in part.family.cancels:
        told = Told(part.family.steps)
        for outcomes in part.family.ways:
            result.of += 1
            if not whole and (over.knows(outcomes) or told.knows(outcomes)):
                continue
            result.played += 1
            try:
                played = play_alone(part.scene(cancel, outcomes))
            except Exception as error:
                why = "".join(traceback.format_exception_only(error)).strip()
                result.failed.append((part.line(cancel, outcomes), why))
                continue
            told.add(outcomes, played.asked)
            if played.idled:
                over.add(outcomes, played.asked)
    return result


def _run_numbered(name: str, number: int, whole: bool) -> Result:
    """`run`, for another process: a part goes there by name."""
    return run(FAMILIES[name].parts[number], whole=whole)


def _run_all(families: Sequence[Family], processes: int, *, whole: bool) -> Result:
    total, began, told_at = Result(), time.monotonic(), 0.0
    chosen = [(family.name, number) for family in families for number in range(len(family.parts))]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as executor:
        work = [executor.submit(_run_numbered, name, number, whole) for name, number in chosen]
        for done, future in enumerate(as_completed(work), 1):
            part = future.result()
            total += part
            for line, why in part.failed:
                print(f"FAILED  {line}\n        {why}", flush=True)
            took = time.monotonic() - began
            if took - told_at > 10 or done == len(work):
                told_at = took
                print(
                    f"{done} of {len(work)} parts: {total.played:,} scenes played for {total.of:,}, "
                    f"{len(total.failed)} failed, {took:.0f} s",
                    flush=True,
                )
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what the command line asks for; 1 where a scene failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.races.every_scene", description="Play every scene of the pool's sweeps."
    )
    parser.add_argument("families", nargs="*", help="only families whose name begins so (default: all)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one per processor")
    parser.add_argument("--whole", action="store_true", help="play those that go alike as well")
    parser.add_argument("--list", action="store_true", help="only tell how many scenes there are")
    parser.add_argument("--replay", metavar="LINE", help="play one scene, as a failure printed it")
    asked = parser.parse_args(arguments)
    if asked.replay is not None:
        print(play_alone(find(asked.replay)))
        return 0
    chosen = [each for each in FAMILIES.values() if each.name.startswith(tuple(asked.families) or "")]
    for family in chosen if asked.list else ():
        print(f"{family.size:>11,}  {family.name}")
    print(f"{len(chosen)} families, {sum(family.size for family in chosen):,} scenes", flush=True)
    if asked.list or not chosen:
        return 0 if chosen else 2
    return 1 if _run_all(chosen, asked.processes, whole=asked.whole).failed else 0


if __name__ == "__main__":
    sys.exit(main())
