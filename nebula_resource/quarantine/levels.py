"""Levels: remembers how far the waits of a resource had grown, so that one that keeps coming back is not new each time."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Levels"]


@dataclass(slots=True)
class _Level:
    level: int
    since: float  # loop time of the release
    step: float  # seconds of health that take one step back


class Levels:
    """A level is the number of waits a resource has been through.

    It decays by one for every ``step`` seconds that pass outside quarantine. The step is the policy's longest wait
    (``backoff.max``, 60 s): a resource must stay well for longer than any wait to be forgiven one of them.
    """

    def __init__(self) -> None:
        self._levels: dict[str, _Level] = {}

    def __len__(self) -> int:
        return len(self._levels)

    def at(self, id: str, now: float) -> int:
        """The level of ``id`` at loop time ``now``."""
        found = self._levels.get(id)
        return 0 if found is None else max(0, found.level - int((now - found.since) / found.step))

    def released(self, id: str, *, level: int, now: float, step: float) -> None:
        """``id`` leaves quarantine at this level; those forgiven meanwhile are forgotten."""
        for other in [key for key in self._levels if self.at(key, now) == 0]:
            del self._levels[other]
        if level > 0:
            self._levels[id] = _Level(level, now, step)

    def forget(self, id: str) -> None:
        """``id`` is gone."""
        self._levels.pop(id, None)
