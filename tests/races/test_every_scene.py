"""The enumeration behind `make sweep`: a slice of each family in the gate, and that what it leaves out is left out rightly."""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby, product

import pytest

from nebula_resource.pool.desk import Desk
from nebula_resource.testing.asserts import assert_sound
from nebula_resource.testing.mock import Outcome
from tests.races import every_scene, pool_scene
from tests.races.every_scene import FAMILIES, OVERRIDDEN, Family, Outcomes, Part, a_slice, find, main, run
from tests.races.every_scene import play_alone as play
from tests.races.pool_scene import VERBS, Scene, ScenePool

OUTCOMES = tuple(Outcome)
SEED = 1  # the gate plays the same scenes every day; `make sweep` plays all, and whoever hunts moves this
MOST_STEPS = "all"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_slice_of_each_family(name: str) -> None:
    """Some scenes of every kind, whichever."""
    count = 10 if name.endswith(MOST_STEPS) else 5
    for part, cancel, outcomes in a_slice(FAMILIES[name], count, random.Random(f"{SEED} {name}")):
        print(part.line(cancel, outcomes))
        play(part.scene(cancel, outcomes))


def test_all_combinations_of_all_steps() -> None:
    """Every step with every outcome, with every outcome of all others but one, in a few pairs of turns each."""
    family = FAMILIES[f"line:{MOST_STEPS}"]
    parts = family.parts
    for number, outcomes in enumerate(latin(family)):
        part, cancel = parts[number % len(parts)], family.cancels[number % 7]
        print(part.line(cancel, outcomes))
        play(part.scene(cancel, outcomes))


def latin(family: Family) -> Iterator[Outcomes]:
    """Every outcome of each step with every outcome of all others but one, whichever one: the sum decides the last."""
    for indices in product(range(len(OUTCOMES)), repeat=len(family.steps) - 1):
        yield tuple(OUTCOMES[index] for index in (*indices, sum(indices) % len(OUTCOMES)))


def test_the_enumeration_is_the_whole_product() -> None:
    """Six steps in four ways each, with every release, cancel and victim; every verb; what is shared; what upkeep does."""
    assert FAMILIES["line:all"].size == 4**6 * 2 * 10 * 3
    assert {f"{verb}:{name}" for verb in VERBS for name in OVERRIDDEN} <= FAMILIES.keys()
    assert FAMILIES["shared:all"].size == 4**5 * 2 * 10 * 3
    assert FAMILIES["keepalive:all"].size == 4**6 * 2 * 10 * 2 * 3
    for family in FAMILIES.values():  # a scene with one idle turn less must be there as well
        assert tuple(family.releases) == tuple(range(len(family.releases)))
        assert tuple(family.cancels) == tuple(range(len(family.cancels)))
    result = run(FAMILIES["line:plain"].parts[0])
    assert (result.of, result.failed) == (4**2 * 10, [])
    assert result.played < run(FAMILIES["line:plain"].parts[0], whole=True).played == result.of


# ── what is not played would have gone alike ──


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scene], list[str]]:
    """Everything that can be seen of the pool in each turn of a scene."""
    seen: list[str] = []

    def watch(pool: ScenePool) -> None:
        now = asyncio.get_running_loop().time()
        seen.append(f"{now} {pool!r} {[*pool.ledger.entries]} {pool.stats()}")
        assert_sound(pool)

    monkeypatch.setattr(pool_scene, "assert_sound", watch)

    def follow(scene: Scene) -> list[str]:
        seen.clear()
        play(scene)
        return seen.copy()

    return follow


@pytest.mark.parametrize(
    "name", ["line:all", "probe:all", "shared-replace:all", "keepalive:pooled", "late:all"]
)
def test_a_step_that_nobody_asks_decides_nothing(name: str, trace: Callable[[Scene], list[str]]) -> None:
    """Two scenes that differ only in steps that were not asked go alike, turn by turn."""
    compared = 0
    for part, cancel, outcomes in a_slice(FAMILIES[name], 12, random.Random(f"{SEED} {name}")):
        asked = play(part.scene(cancel, outcomes)).asked
        other = tuple(
            outcome if step in asked else OUTCOMES[OUTCOMES.index(outcome) - 1]
            for step, outcome in zip(part.family.steps, outcomes, strict=True)
        )
        compared += other != outcomes
        assert trace(part.scene(cancel, outcomes)) == trace(part.scene(cancel, other)), part.line(
            cancel, other
        )
    assert compared


@pytest.mark.parametrize("name", ["line:all", "drain:all", "room:reset", "ends:plain", "keepalive:pooled"])
def test_a_turn_in_which_nothing_happens_changes_nothing(
    name: str, trace: Callable[[Scene], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has anything to do before the release or the cancellation, it may as well come a turn earlier."""
    compared = 0
    for part, cancel, outcomes in a_slice(FAMILIES[name], 12, random.Random(f"{SEED} {name}")):
        if not play(part.scene(cancel, outcomes)).idled:
            continue
        compared += 1
        now = trace(part.scene(cancel, outcomes))
        sooner = [
            replace(part, release=release).scene(cancel - 1, outcomes) for release in range(part.release + 1)
        ]
        assert now in [trace(scene) for scene in sooner], part.line(cancel, outcomes)
        with monkeypatch.context() as patch:
            patch.setattr(pool_scene, "is_quiet", lambda: False)  # and that it was idle is true
            every_turn = unrepeated(trace(part.scene(cancel, outcomes)))
        assert every_turn[-len(unrepeated(now)) :] == unrepeated(now), part.line(cancel, outcomes)
    assert compared


def unrepeated(turns: list[str]) -> list[str]:
    """Without those in which nothing changed."""
    return [turn for turn, _ in groupby(turns)]


# ── what it finds ──


def test_a_scene_that_fails_can_be_played_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is told as a line, and that line plays the scene that failed."""
    monkeypatch.setattr(Desk, "take_back", lambda self, entry: None)
    part = next(part for part in FAMILIES["line:plain"].parts if part.victim == "first")
    [(line, why), *_] = run(part).failed
    assert line.startswith("line:plain ok,ok 0 ")
    with pytest.raises(Exception, match=why.partition(": ")[2][:20]):
        play(find(line))


def test_an_instance_that_is_lent_to_two_fails_a_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a caller sees is looked at, not only what the books say."""
    hand_over = Desk.hand_over

    def lend_twice(self: Desk, entry: object, waiter: object) -> None:
        hand_over(self, entry, waiter)  # type: ignore[arg-type]  # whatever it is given
        second = self._pool.line.next()
        if second is not None:
            second.set_result(entry)  # type: ignore[arg-type]  # the same

    monkeypatch.setattr(Desk, "hand_over", lend_twice)
    assert run(Part(FAMILIES["line:reset"], 0, "last", 0.0, 0.0)).failed


def test_a_line_that_names_no_scene_is_refused() -> None:
    """A family, an outcome or a number that is none."""
    for line in (
        "",
        "nothing:all ok 0 0 first 0 0",
        "line:plain ok,odd 0 0 first 0 0",
        "line:plain ok 0 0 first 0 0",
    ):
        with pytest.raises(ValueError, match="there is no scene"):
            find(line)


def test_the_command_plays_what_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A family by name, in a process of its own; one scene by its line; and how many there are."""
    assert main(["line:plain", "--processes", "1"]) == 0
    assert "6 of 6 parts" in capsys.readouterr().out
    assert main(["--replay", "line:plain ok,ok 0 3 first 0 0"]) == 0
    assert main(["--list", "line:plain"]) == 0
    assert "960  line:plain" in capsys.readouterr().out
    assert main(["no such family"]) == 2


def test_a_failure_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers with 1 when a scene failed."""
    monkeypatch.setattr(
        every_scene, "_run_all", lambda *_, whole: every_scene.Result(failed=[("line", "why")])
    )
    assert main(["line:plain"]) == 1
