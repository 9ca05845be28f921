"""Health against independent models: the board's thresholds, propagation over random graphs, cascades."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from nebula_resource.health import CascadeWatch, HealthBoard, Incident, Propagation, Suspicion
from nebula_resource.model.health import (
    Degraded,
    HealthPolicy,
    HealthState,
    Healthy,
    Unhealthy,
    Unknown,
)
from tests.unit.health.graphs import PlainGraph

laws = settings(max_examples=1000)

LIGHT, HEAVY = Degraded("slow", 0.3), Degraded("crawling", 0.9)
DOWN, LOST = Unhealthy("down"), Unhealthy("gone", recoverable=False)

# ── the board ─────────────────────────────────────────────────────────────────────────────────────────────────────

checks: dict[str, HealthState] = {
    "pass": Healthy(),
    "light": LIGHT,
    "heavy": HEAVY,
    "down": DOWN,
    "lost": LOST,
    "unknown": Unknown(),
}
happenings = st.lists(
    st.sampled_from([*checks, "use ok", "use fails", "reset", "impose x", "impose xx", "lift x", "lift xx"]),
    max_size=40,
)
CAUSE = Degraded("dependency is down", 0.5)


class Told:
    """Everything the board tells, in order."""

    def __init__(self) -> None:
        self.changes: list[tuple[HealthState, HealthState]] = []
        self.reached: list[int] = []

    def changed(self, id: str, old: HealthState, new: HealthState, because: str) -> None:
        self.changes.append((old, new))

    def own_changed(self, id: str, old: HealthState, new: HealthState) -> None:
        assert old != new

    def threshold_reached(self, id: str, failures: int) -> None:
        self.reached.append(failures)


def failures_in_a_row(past: list[str]) -> int:
    """Count backwards: checks that failed since the last that passed, and uses since the last that went well."""
    probes = uses = 0
    uses_count = True
    for what in reversed(past):
        if what in ("pass", "light", "reset"):
            break
        if what in ("heavy", "down", "lost"):
            probes += 1
        elif what == "use ok":
            uses_count = False
        elif what == "use fails" and uses_count:
            uses += 1
    return probes + uses


def passes_in_a_row(past: list[str]) -> int:
    """Count backwards: checks that passed since anything failed; unknown ones and good uses are passed over."""
    count = 0
    for what in reversed(past):
        if what in ("heavy", "down", "lost", "use fails", "reset"):
            break
        count += what in ("pass", "light")
    return count


class Model:
    """What the board should know, worked out from the whole past each time."""

    def __init__(self, policy: HealthPolicy) -> None:
        self.policy = policy
        self.past: list[str] = []
        self.own: HealthState = Unknown()
        self.episode = False
        self.reached: list[int] = []
        self.causes: set[str] = set()

    def happens(self, what: str) -> None:
        if what.startswith("impose"):
            self.causes.add(what.split()[1])
            return
        if what.startswith("lift"):
            self.causes.discard(what.split()[1])
            return
        self.past.append(what)
        ill = isinstance(self.own, Unhealthy)
        if what in ("pass", "light"):
            if not ill or passes_in_a_row(self.past) >= self.policy.success_threshold:
                self.own, self.episode = checks[what], False
        elif what == "reset":
            self.own, self.episode = Unknown(), False
        elif what == "unknown":
            self.own = self.own if ill else Unknown()
        elif what == "use ok":
            self.own = Healthy() if isinstance(self.own, Unknown) else self.own
        else:
            self._fails(what)

    def _fails(self, what: str) -> None:
        count = failures_in_a_row(self.past)
        was_lost = isinstance(self.own, Unhealthy) and not self.own.recoverable
        if count >= self.policy.failure_threshold or what == "lost":
            reason = {"heavy": "crawling", "down": "down", "lost": "gone", "use fails": "boom"}[what]
            self.own = Unhealthy(reason, not (what == "lost" or (what == "use fails" and was_lost)))
        elif what == "heavy" and not isinstance(self.own, Unhealthy):
            self.own = HEAVY
        if count >= self.policy.failure_threshold and not self.episode:
            self.episode = True
            self.reached.append(count)

    @property
    def effective(self) -> HealthState:
        if self.causes and (isinstance(self.own, Unknown) or self.own.score() > 0.5):
            return CAUSE
        return self.own


def is_news(old: HealthState, new: HealthState) -> bool:
    """Down is down, whatever it says, until it is lost for good or found again; of the rest every change is told."""
    down = {Unhealthy(reason) for reason in ("crawling", "down", "boom")}
    lost = {Unhealthy(reason, recoverable=False) for reason in ("gone", "boom")}
    return old != new and not ({old, new} <= down or {old, new} <= lost)


@laws
@given(happenings=happenings, failures=st.integers(1, 5), successes=st.integers(1, 4))
def test_the_board_agrees_with_its_model(happenings: list[str], failures: int, successes: int) -> None:
    """Whatever happens, own and effective state, counts and thresholds are what the whole past says."""
    policy = HealthPolicy(failure_threshold=failures, success_threshold=successes)
    told, model = Told(), Model(policy)
    board = HealthBoard(told)
    board.add("db", policy)
    last: HealthState = Unknown()
    for what in happenings:
        model.happens(what)
        before = len(told.changes)
        if what in checks:
            board.observe("db", checks[what])
        elif what.startswith("use"):
            board.evidence("db", failure=what == "use fails", reason="boom")
        elif what == "reset":
            board.reset("db")
        elif what.startswith("impose"):
            board.impose("db", what.split()[1], CAUSE)
        else:
            board.lift("db", what.split()[1])
        view = board.get("db")
        assert view is not None
        assert (view.own, view.effective) == (model.own, model.effective)
        assert view.failures == failures_in_a_row(model.past)
        assert set(view.causes) == model.causes
        assert told.reached == model.reached
        assert bool(board.over_threshold()) == model.episode
        # One change told for each that people can see, and none else.
        assert told.changes[before:] == ([(last, view.effective)] if is_news(last, view.effective) else [])
        last = view.effective


# ── random graphs ─────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = ["a" * n for n in range(1, 18)] + ["db" + "-x" * n for n in range(17)] + [f"n{n}" for n in range(16)]


@st.composite
def graphs(draw: st.DrawFn, most: int = 50) -> dict[str, list[str]]:
    """A random graph without circles; many of its ids are beginnings of others."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    names = rng.sample(NAMES, draw(st.integers(1, most)))
    density = draw(st.floats(0, 3)) / len(names)
    return {
        name: [below for below in names[:place] if rng.random() < density + (rng.random() < 0.1)]
        for place, name in enumerate(names)
    }


def reachable(needs: dict[str, list[str]], root: str, depth: int) -> set[str]:
    """Who needs ``root`` within so many steps: ``near[each]`` is how many steps it is away at most."""
    near = {root: 0}
    for each, below in needs.items():  # what is needed stands before what needs it
        steps = [near[other] + 1 for other in below if other in near]
        if steps and each != root:
            near[each] = min(steps)
    return {each for each, steps in near.items() if 0 < steps <= depth}


@laws
@given(data=st.data(), needs=graphs())
def test_everybody_bears_exactly_the_roots_that_are_down_below(
    data: st.DataObject, needs: dict[str, list[str]]
) -> None:
    """After any falls and rises each resource's causes are the down roots within reach, by exact ids."""
    told = Told()
    board = HealthBoard(told)
    for each in needs:
        board.add(each, HealthPolicy())
        board.observe(each, Healthy())
    propagation = Propagation(board, PlainGraph(needs))
    down: dict[str, int] = {}
    reach: dict[tuple[str, int], set[str]] = {}
    for _ in range(data.draw(st.integers(1, 8))):
        root = data.draw(st.sampled_from(sorted(needs)))
        if root in down and data.draw(st.booleans()):
            del down[root]
            propagation.rose(root)
        else:
            down[root] = data.draw(st.integers(0, 4))
            propagation.fell(root, depth=down[root])
        for root_, depth in down.items():
            reach.setdefault((root_, depth), reachable(needs, root_, depth))
        for each in needs:
            view = board.get(each)
            assert view is not None
            bears = {root_ for root_, depth in down.items() if each in reach[root_, depth]}
            assert set(view.causes) == bears
            assert view.effective.kind == ("degraded" if bears else "healthy")
            assert (view.own, view.failures) == (Healthy(), 0)
    for root in tuple(down):
        propagation.rose(root)
    assert all(board.effective(each) == Healthy() for each in needs)


class Watcher:
    """Checks each thing a cascade watch tells at the moment it is told."""

    def __init__(self, needs: dict[str, list[str]]) -> None:
        self.needs = needs
        self.failing: set[str] = set()
        self.passed: set[str] = set()
        self.free: set[str] = set()  # roots released since their incident began
        self.open: dict[str, Incident] = {}

    def dependents(self, root: str) -> set[str]:
        return {each for each, needs in self.needs.items() if root in needs}

    def taken(self) -> set[str]:
        return {member for incident in self.open.values() for member in incident.members}

    def detected(self, incident: Incident) -> None:
        members, dependents = set(incident.members), self.dependents(incident.root)
        assert len(members) == len(incident.members) >= 2
        assert members <= dependents & self.failing
        assert len(members) > len(dependents) / 2
        assert not members & self.taken()
        assert incident.root not in self.open
        assert not any(self.below(incident.root, other) for other in self.open)
        self.open[incident.root] = incident
        self.free.discard(incident.root)
        self.passed -= members

    def joined(self, incident: Incident, member: str) -> None:
        assert member in self.dependents(incident.root)
        assert member not in self.taken()
        assert incident.members == (*self.open[incident.root].members, member)
        self.open[incident.root] = incident
        self.passed.discard(member)

    def resolved(self, incident: Incident) -> None:
        assert self.open.pop(incident.root) == incident
        assert incident.root in self.free
        assert set(incident.members) <= self.passed

    def below(self, id: str, other: str) -> bool:
        level = {id}
        while level:
            level = {below for each in level for below in self.needs[each]}
            if other in level:
                return True
        return False


@laws
@given(data=st.data(), needs=graphs(most=12) | graphs())
def test_cascades_are_told_once_and_end(data: st.DataObject, needs: dict[str, list[str]]) -> None:
    """Each incident has its majority when told, shares no member, and ends exactly when root and members are well."""
    watcher = Watcher(needs)
    cascades = CascadeWatch(PlainGraph(needs), watcher)
    for _ in range(data.draw(st.integers(1, 30))):
        each = data.draw(st.sampled_from(sorted(needs)))
        what = data.draw(st.sampled_from(["fails", "fails", "wave", "passes", "released", "fell"]))
        # A wave is what makes an incident in a large graph: all that need one fail, one after the other.
        struck = {"fails": [each], "wave": sorted(watcher.dependents(each))}.get(what, [])
        if struck:
            for victim in struck:
                watcher.failing.add(victim)
                watcher.passed.discard(victim)
                cascades.fails(victim)
                watcher_sees_no_missed_cascade(watcher, victim)
        elif what == "passes":
            watcher.failing.discard(each)
            watcher.passed.add(each)
            cascades.passes(each)
        elif what == "released":
            if each in watcher.open:
                watcher.free.add(each)
            cascades.root_released(each)
        elif what == "fell":
            watcher.free.discard(each)
            cascades.root_fell(each)
        assert {incident.root: incident for incident in cascades.incidents()} == watcher.open
    for each in needs:
        watcher.failing.discard(each)
        watcher.passed.add(each)
        cascades.passes(each)
    for root in tuple(watcher.open):
        watcher.free.add(root)
        cascades.root_released(root)
    assert cascades.incidents() == ()


def watcher_sees_no_missed_cascade(watcher: Watcher, failed: str) -> None:
    """What just failed is in an incident, or nothing it needs could be a root."""
    taken = watcher.taken()
    if failed in taken:
        return
    for root in watcher.needs[failed]:
        barred = (
            root in watcher.open or root in taken or any(watcher.below(root, other) for other in watcher.open)
        )
        failing = watcher.dependents(root) & watcher.failing - taken
        assert barred or len(failing) < 2 or len(failing) <= len(watcher.dependents(root)) / 2


# ── suspicion ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Doubts:
    """Whether the checker is suspected, as told."""

    def __init__(self) -> None:
        self.on = False

    def suspected(self, failing: int, probed: int) -> None:
        assert not self.on
        self.on = True

    def cleared(self, well: int, known: int) -> None:
        assert self.on
        self.on = False


@laws
@given(
    probes=st.lists(
        st.tuples(st.sampled_from([f"r{n}" for n in range(9)]), st.booleans(), st.floats(0, 12)), max_size=60
    ),
    needs=st.sampled_from([{}, {"r0": ["r1"], "r2": ["r1"]}, {f"r{n}": ["r8"] for n in range(6)}]),
)
def test_suspicion_agrees_with_its_model(
    probes: list[tuple[str, bool, float]], needs: dict[str, list[str]]
) -> None:
    """Suspected exactly from five unrelated and 80 % failing within 30 s, until half of all known are well."""
    doubts = Doubts()
    suspicion = Suspicion(PlainGraph(needs), doubts, interval=30)
    last: dict[str, tuple[float, bool]] = {}
    now, expected = 0.0, False
    for name, failed, passes in probes:
        now += passes
        last[name] = (now, failed)
        suspicion.probed(name, failed=failed, now=now)
        recent = {key: bad for key, (at, bad) in last.items() if at >= now - 30}
        bad = sum(recent.values())
        groups = {frozenset({key, *needs.get(key, [])}) for key, is_bad in recent.items() if is_bad}
        if expected:
            expected = sum(is_bad for _, is_bad in last.values()) * 2 > len(last)
        elif failed:
            expected = count_apart(groups) >= 5 and bad * 10 >= len(recent) * 8
        assert doubts.on == suspicion.is_suspected == expected


def count_apart(groups: set[frozenset[str]]) -> int:
    """How many are left when those that share something are put together, by merging until nothing changes."""
    left: list[set[str]] = []
    for group in groups:
        merged: set[str] = set(group)
        apart: list[set[str]] = []
        for other in left:
            if merged & other:
                merged |= other
            else:
                apart.append(other)
        left = [*apart, merged]
    return len(left)
