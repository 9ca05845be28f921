"""HalfOpen: the admissions of resources that were released and are not fully trusted yet."""

from __future__ import annotations

from collections.abc import Callable

from nebula_resource.quarantine.admission import Admission
from nebula_resource.quarantine.case import Case
from nebula_resource.quarantine.ward import QuarantineListener, Ward

__all__ = ["HalfOpen"]


class HalfOpen:
    """One admission per released public id, until it is open or fails.

    Args:
        ward: knows the sizes of pools.
        listener: is told of each step.
        back: leads a resource that failed back to quarantine; False when evidence does not count now, and its
            admission starts again.
    """

    def __init__(self, ward: Ward, listener: QuarantineListener, *, back: Callable[[Case], bool]) -> None:
        self._ward = ward
        self._listener = listener
        self._back = back
        self._admissions: dict[str, Admission] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._admissions)

    def get(self, id: str) -> Admission | None:
        """The admission of ``id``; None when it is open for all, or quarantined."""
        return self._admissions.get(id)

    def admit(self, case: Case) -> None:
        """The case is over: let callers in, one at first."""
        if not self._closed:
            self._admissions[case.id] = Admission(
                self._ward.max_size(case.id),
                stepped=lambda permits: self._stepped(case.id, permits),
                failed=lambda: self._back(case),
            )

    def drop(self, id: str) -> None:
        """There is no admission of ``id`` any more."""
        admission = self._admissions.pop(id, None)
        if admission is not None:
            admission.close()

    def close(self) -> None:
        """There is none at all any more."""
        self._closed = True
        for id_ in tuple(self._admissions):
            self.drop(id_)

    def _stepped(self, id: str, permits: int) -> None:
        if self._admissions[id].is_open:
            self.drop(id)
        self._listener.stepped(id, permits)
