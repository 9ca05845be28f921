"""The board turns evidence into states by thresholds, and tells each real change once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nebula_resource.health import HealthBoard, HealthView
from nebula_resource.model.health import (
    Degraded,
    HealthPolicy,
    HealthState,
    HealthStatus,
    Healthy,
    Unhealthy,
    Unknown,
)

DOWN = Unhealthy("connection refused")
START = datetime(2026, 1, 1, tzinfo=UTC)


class Diary:
    """Writes down what the board tells."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, HealthState, HealthState, str]] = []
        self.owns: list[tuple[str, HealthState, HealthState]] = []
        self.reached: list[tuple[str, int]] = []

    def changed(self, id: str, old: HealthState, new: HealthState, because: str) -> None:
        self.changes.append((id, old, new, because))

    def own_changed(self, id: str, old: HealthState, new: HealthState) -> None:
        self.owns.append((id, old, new))

    def threshold_reached(self, id: str, failures: int) -> None:
        self.reached.append((id, failures))


@pytest.fixture
def diary() -> Diary:
    """Of this test."""
    return Diary()


@pytest.fixture
def board(diary: Diary) -> HealthBoard:
    """A board with the resource "db" under the default policy."""
    board = HealthBoard(diary, utc=lambda: START)
    board.add("db", HealthPolicy())
    return board


def view(board: HealthBoard) -> HealthView:
    """What is known of "db"."""
    found = board.get("db")
    assert found is not None
    return found


def test_nothing_is_known_at_first(board: HealthBoard) -> None:
    """A resource that was just added is Unknown, and usable."""
    assert view(board) == HealthView(
        own=Unknown(), effective=Unknown(), causes={}, since=START, last_checked=None, failures=0
    )


def test_the_first_pass_makes_it_healthy(board: HealthBoard, diary: Diary) -> None:
    """Out of Unknown one pass is enough."""
    board.observe("db", HealthStatus.healthy())
    assert board.effective("db") == Healthy()
    assert diary.changes == [("db", Unknown(), Healthy(), "check")]


def test_failures_below_the_threshold_change_nothing(board: HealthBoard, diary: Diary) -> None:
    """Two failures are counted, and forgotten at the next pass."""
    board.observe("db", Healthy())
    board.observe("db", DOWN)
    board.observe("db", DOWN)
    assert (view(board).own, view(board).failures) == (Healthy(), 2)
    board.observe("db", Healthy())
    board.observe("db", DOWN)
    board.observe("db", DOWN)
    assert (board.own("db"), diary.reached) == (Healthy(), [])


def test_the_threshold_is_told_once_per_episode(board: HealthBoard, diary: Diary) -> None:
    """The third failure in a row makes it Unhealthy and is told; further ones are not, until it was well again."""
    for _ in range(7):
        board.observe("db", DOWN)
    assert (board.own("db"), diary.reached) == (DOWN, [("db", 3)])
    assert board.over_threshold() == ("db",)
    board.observe("db", Healthy())
    assert board.own("db") == DOWN  # one pass of two
    board.observe("db", DOWN)
    board.observe("db", Healthy())
    assert diary.reached == [("db", 3)]
    board.observe("db", Healthy())
    assert (board.own("db"), board.over_threshold()) == (Healthy(), ())
    for _ in range(3):
        board.observe("db", DOWN)
    assert diary.reached == [("db", 3), ("db", 3)]


def test_a_reset_ends_the_episode(board: HealthBoard, diary: Diary) -> None:
    """After a reset it is Unknown, and the threshold may be reached anew."""
    for _ in range(3):
        board.observe("db", DOWN)
    board.reset("db")
    assert (view(board).own, view(board).failures) == (Unknown(), 0)
    for _ in range(3):
        board.observe("db", DOWN)
    assert len(diary.reached) == 2
    assert [change[3] for change in diary.changes] == ["check", "reset", "check"]


def test_a_degradation_is_believed_at_once(board: HealthBoard) -> None:
    """A usable degradation counts as a pass and shows at once: stages have their own patience."""
    board.observe("db", DOWN)
    board.observe("db", Degraded("slow", 0.3))
    assert (view(board).own, view(board).failures) == (Degraded("slow", 0.3), 0)


def test_a_heavy_degradation_is_a_failure(board: HealthBoard, diary: Diary) -> None:
    """From 0.8 on it is not usable: shown at once, counted, and Unhealthy at the threshold."""
    heavy = Degraded("crawling", 0.9)
    board.observe("db", heavy)
    assert (view(board).own, view(board).failures) == (heavy, 1)
    board.observe("db", heavy)
    board.observe("db", heavy)
    assert (board.own("db"), diary.reached) == (Unhealthy("crawling"), [("db", 3)])


def test_what_cannot_come_back_is_believed_at_once(board: HealthBoard, diary: Diary) -> None:
    """Unhealthy(recoverable=False) shows at the first check; the threshold is still three."""
    lost = Unhealthy("schema gone", recoverable=False)
    board.observe("db", lost)
    assert (board.own("db"), diary.reached) == (lost, [])
    board.evidence("db", failure=True, reason="create failed")
    assert board.own("db") == lost
    board.evidence("db", failure=True, reason="create failed")
    assert board.own("db") == Unhealthy("create failed", recoverable=False)
    assert diary.reached == [("db", 3)]


def test_unknown_ends_trust_but_not_distrust(board: HealthBoard) -> None:
    """A check that found nothing out makes Healthy Unknown, and leaves Unhealthy as it is."""
    board.observe("db", Healthy())
    board.observe("db", Unknown())
    assert board.own("db") == Unknown()
    for _ in range(3):
        board.observe("db", DOWN)
    board.observe("db", Unknown())
    assert board.own("db") == DOWN


def test_real_use_counts_with_checks(board: HealthBoard, diary: Diary) -> None:
    """Failed creates and failed checks add up to the threshold."""
    board.evidence("db", failure=True, reason="create failed: OSError")
    board.observe("db", DOWN)
    board.evidence("db", failure=True)
    assert (board.own("db"), diary.reached) == (Unhealthy("a use failed"), [("db", 3)])


def test_good_use_does_not_hide_a_failing_check(board: HealthBoard, diary: Diary) -> None:
    """A use that went well ends the streak of uses, not that of checks, and does not make an Unhealthy one well."""
    for _ in range(2):
        board.observe("db", DOWN)
        board.evidence("db", failure=True)
        board.evidence("db", failure=False)
    assert view(board).failures == 2
    board.observe("db", DOWN)
    board.evidence("db", failure=False)
    board.evidence("db", failure=False)
    assert board.own("db") == DOWN
    assert len(diary.reached) == 1


def test_good_use_makes_an_unknown_one_healthy(board: HealthBoard) -> None:
    """Where no check could be made, real use is the evidence."""
    board.evidence("db", failure=False)
    assert board.own("db") == Healthy()


def test_causes_add_up_and_each_is_lifted_alone(board: HealthBoard, diary: Diary) -> None:
    """The effective state is the worst of own and causes; lifting one leaves the others, whatever their ids."""
    board.observe("db", Healthy())
    board.impose("db", "net", Degraded("dependency 'net' is down", 0.5))
    board.impose("db", "net-2", Degraded("dependency 'net-2' is down", 0.5))
    assert board.effective("db") == Degraded("dependency 'net' is down", 0.5)
    board.lift("db", "net")
    assert board.effective("db") == Degraded("dependency 'net-2' is down", 0.5)
    assert board.bears("db", "net-2")
    assert not board.bears("db", "net")
    board.lift("db", "ne")
    board.lift("db", "net-2")
    board.lift("db", "net-2")
    assert board.effective("db") == Healthy()
    assert [change[3] for change in diary.changes] == [
        "check",
        "dependency net",
        "dependency net",
        "dependency net-2",
    ]
    assert view(board).failures == 0


def test_a_cause_shows_over_an_unknown_own_state(board: HealthBoard) -> None:
    """What is known of a dependency is not hidden by knowing nothing of the resource."""
    board.impose("db", "net", Degraded("dependency 'net' is down", 0.5))
    assert board.effective("db") == Degraded("dependency 'net' is down", 0.5)


def test_own_illness_wins_over_a_lighter_cause(board: HealthBoard, diary: Diary) -> None:
    """Unhealthy by itself it stays so, and the cause coming and going is no change."""
    for _ in range(3):
        board.observe("db", DOWN)
    changes = len(diary.changes)
    board.impose("db", "net", Degraded("dependency 'net' is down", 0.5))
    board.lift("db", "net")
    assert (board.effective("db"), len(diary.changes)) == (DOWN, changes)


def test_a_drifting_impact_is_no_real_change(board: HealthBoard, diary: Diary) -> None:
    """People hear once of a degradation; those who count by the impact hear of each value."""
    for impact in (0.2, 0.3, 0.4, 0.9):
        board.observe("db", Degraded("slow", impact))
    assert [(old.kind, new) for _, old, new, _ in diary.changes] == [
        ("unknown", Degraded("slow", 0.2)),
        ("degraded", Degraded("slow", 0.9)),  # served before, refused now
    ]
    assert len(diary.owns) == 4


def test_another_reason_during_an_outage_is_no_real_change(board: HealthBoard, diary: Diary) -> None:
    """People hear once that it is down, whatever it says from check to check; that it is lost for good is news.

    What it says now can be read all the while, and since when it is down stays true.
    """
    reasons = ("refused", "refused", "refused", "reset", "timed out", "refused")
    for second, reason in enumerate(reasons):
        board.observe("db", Unhealthy(reason), START + timedelta(seconds=second))
    assert [(old.kind, new) for _, old, new, _ in diary.changes] == [("unknown", Unhealthy("refused"))]
    assert (view(board).since, len(board.history("db"))) == (START + timedelta(seconds=2), 1)
    board.observe("db", Unhealthy("reset"))
    assert board.effective("db") == Unhealthy("reset")
    board.observe("db", Unhealthy("schema gone", recoverable=False))
    assert [new for _, _, new, _ in diary.changes[1:]] == [Unhealthy("schema gone", recoverable=False)]


def test_another_reason_of_a_degradation_is_a_real_change(board: HealthBoard, diary: Diary) -> None:
    """It is served all the while, but it is another thing to look at."""
    for reason in ("slow", "slow", "dependency 'net' is down"):
        board.observe("db", Degraded(reason, 0.5))
    assert [new.because for _, _, new, _ in diary.changes] == ["slow", "dependency 'net' is down"]


def test_history_keeps_the_last_fifty_changes(board: HealthBoard) -> None:
    """Older ones are dropped; each names what it was because of."""
    for step in range(80):
        at = START + timedelta(seconds=step)
        board.observe("db", Healthy() if step % 2 else Degraded("slow", 0.1), at)
    history = board.history("db")
    assert len(history) == 50
    assert history[-1].at == START + timedelta(seconds=79)
    assert history[0].at == START + timedelta(seconds=30)
    assert (history[-1].old, history[-1].new) == (Degraded("slow", 0.1), Healthy())
    assert view(board).since == START + timedelta(seconds=79)


def test_a_status_carries_its_own_time(board: HealthBoard) -> None:
    """last_checked is when the check was, not when it was told."""
    at = START + timedelta(hours=1)
    board.observe("db", HealthStatus(Healthy(), checked_at=at))
    assert view(board).last_checked == at
    assert board.looked_at("db") == (Healthy(), at)


def test_what_is_not_on_the_board_is_dropped(board: HealthBoard, diary: Diary) -> None:
    """A check may outlive its registration: what it says is lost, and asking is Unknown."""
    board.forget("db")
    board.forget("db")
    board.observe("db", DOWN)
    board.evidence("db", failure=True)
    board.impose("db", "net", DOWN)
    board.lift("db", "net")
    board.reset("db")
    assert board.get("db") is None
    assert board.history("db") == ()
    assert (board.own("db"), board.effective("db")) == (Unknown(), Unknown())
    assert "db" not in board
    assert board.looked_at("db") is None
    assert diary.changes == []


def test_a_new_policy_keeps_the_evidence(board: HealthBoard, diary: Diary) -> None:
    """Added again under another policy, a resource keeps its counts."""
    board.observe("db", DOWN)
    board.add("db", HealthPolicy(failure_threshold=2))
    board.observe("db", DOWN)
    assert diary.reached == [("db", 2)]
    assert board.ids() == ("db",)
    assert repr(board) == "<HealthBoard 1 unhealthy>"
    assert repr(HealthBoard(diary)) == "<HealthBoard empty>"


def test_a_listener_may_call_back_in() -> None:
    """Told of a change, a listener may say more about the same resource; the board is consistent then."""

    class Meddler(Diary):
        def changed(self, id: str, old: HealthState, new: HealthState, because: str) -> None:
            super().changed(id, old, new, because)
            if because == "check":
                its_board.impose(id, "net", Degraded("dependency 'net' is down", 0.5))

    meddler = Meddler()
    its_board = HealthBoard(meddler)
    its_board.add("db", HealthPolicy())
    its_board.observe("db", Healthy())
    assert [change[2].kind for change in meddler.changes] == ["healthy", "degraded"]
    assert its_board.effective("db").kind == "degraded"
