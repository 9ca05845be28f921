"""Ring: the last events, numbered, for replay; readers keep cursors, the ring knows none of them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator

from nebula_resource.admin.sse.frame import Frame, Notice
from nebula_resource.events import Event

__all__ = ["Position", "Ring"]

SIZE = 8192
"""Events that can be replayed (SPEC §23)."""

_ID = re.compile(r"([0-9a-f]{8,32})-(\d{1,15})")

Keep = Callable[["Event | Notice"], bool]
Told = Callable[["Event | Notice"], "Event | Notice"]


class Position:
    """Where a reader that comes back goes on: after ``seq``; ``gap`` says what it cannot be given, and why."""

    __slots__ = ("gap", "seq")

    def __init__(self, seq: int, gap: dict[str, object] | None = None) -> None:
        self.seq = seq
        self.gap = gap


class Ring:
    """Events with the numbers 1, 2, 3 …, of which the last ``size`` are still here.

    Ids on the wire are ``<boot>-<seq>``. ``boot`` differs for each ring of each process, so an id from before a
    restart, or of another tenant's ring, is never mistaken for one of ours.
    """

    def __init__(self, *, size: int = SIZE, keep: Keep | None = None, told: Told | None = None) -> None:
        self.boot = secrets.token_hex(6)
        self.seq = 0
        self._size = size
        self._keep = keep
        self._told = told
        self._frames: list[Frame | None] = [None] * size
        self._joined: tuple[int, int, bytes] = (0, 0, b"")

    def __repr__(self) -> str:
        return f"<Ring {self.boot}: {self.oldest}…{self.seq}>"

    @property
    def oldest(self) -> int:
        """The number of the oldest event that is still here; one more than the latest when there is none."""
        return max(1, self.seq - self._size + 1)

    def put(self, event: Event | Notice) -> bool:
        """Take an event, as its readers are told of it, if it is one of those this ring keeps; says whether it was."""
        if self._keep is not None and not self._keep(event):
            return False
        self.seq += 1
        self._frames[self.seq % self._size] = Frame(
            self.seq, event if self._told is None else self._told(event)
        )
        return True

    def frames(self, after: int, upto: int) -> Iterator[Frame]:
        """Those with after < seq ≤ upto that are still here, in order."""
        for seq in range(max(after + 1, self.oldest), min(upto, self.seq) + 1):
            frame = self._frames[seq % self._size]
            if frame is not None:
                yield frame

    def joined(self, after: int, upto: int) -> bytes:
        """The bytes of `frames`, one after the other; kept, since all readers that keep up ask for the same."""
        known_after, known_upto, body = self._joined
        if (known_after, known_upto) != (after, upto):
            body = b"".join(frame.wire(self.boot) for frame in self.frames(after, upto))
            self._joined = (after, upto, body)
        return body

    def id_of(self, seq: int) -> str:
        """The id of an event of this ring on the wire."""
        return f"{self.boot}-{seq}"

    def position(self, last_id: str | None) -> Position:
        """Where a reader goes on that says it has seen ``last_id``; None or empty: it has seen nothing, and starts now.

        An id that cannot be honoured (of another boot, overrun, tampered with) gives a gap, never an error.
        """
        if not last_id:
            return Position(self.seq)
        match = _ID.fullmatch(last_id)
        if match is None:
            return self._gap("unknown_id", None)
        if match[1] != self.boot:
            return self._gap("restart", None)
        seq = int(match[2])
        if seq > self.seq:
            return self._gap("unknown_id", None)
        if seq + 1 < self.oldest:
            gap = self._gap("overrun", seq + 1)
            gap.seq = self.oldest - 1
            return gap
        return Position(seq)

    def _gap(self, reason: str, first_lost: int | None) -> Position:
        """From the number of the first that is lost, where that is known, to that of the last."""
        upto = self.seq if first_lost is None else self.oldest - 1
        return Position(self.seq, {"reason": reason, "from": first_lost, "to": upto})
