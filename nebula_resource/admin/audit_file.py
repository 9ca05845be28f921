"""AuditFile: lines that are on the disk before anybody goes on; the loop does not wait for the disk, those who write do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

from nebula_resource._aio import OwnedTasks, beside

__all__ = ["PATIENCE", "AuditFile"]

PATIENCE = 10.0
"""Seconds that a line may take: a disk that has not answered by then counts as one that cannot be written."""

Line = tuple[str, "asyncio.Future[None]"]


class AuditFile:
    """Adds lines to a file, in the order in which they came, each on the disk when `add` returns.

    One thread at a time writes, however slow the disk is; what came meanwhile goes together in the next write.

    Args:
        path: a regular file, or none yet. It is opened for each write, so it may be moved away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[Line] = []
        self._tasks = OwnedTasks("nebula admin audit")
        self._writer: asyncio.Task[None] | None = None
        self._may_be_torn = True
        """Whether the file may end in the middle of a line: a full disk leaves that, or a process that died."""

    def __repr__(self) -> str:
        return f"<AuditFile '{self._path}', {len(self._waiting)} waiting>"

    async def add(self, line: str) -> None:
        """Write one line. It is on its way once this has begun: who is cancelled only stops waiting.

        Raises `OSError`: it cannot be written, or not in time.
        """
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((line, told))
        if self._writer is None:
            self._writer = self._tasks.spawn(self._write(), name="write")
        await asyncio.wait((told,), timeout=PATIENCE)
        if not told.done():
            # What was not begun is not written later, when nobody means it any more.
            self._waiting = [each for each in self._waiting if each[1] is not told]
            raise TimeoutError("the disk does not answer")
        told.result()

    async def _write(self) -> None:
        lines: list[Line] = []
        try:
            while self._waiting:
                lines, self._waiting = self._waiting, []
                _tell(lines, await self._written("".join(f"{line}\n" for line, _ in lines)))
        finally:
            # However this ended, nobody is left to wait for it.
            _tell((*lines, *self._waiting), OSError("what writes was called off"))
            self._waiting = []
            self._writer = None

    async def _written(self, text: str) -> OSError | None:
        may_be_torn, self._may_be_torn = self._may_be_torn, True
        try:
            await beside(lambda: _append(self._path, text, may_be_torn=may_be_torn), name="nebula audit")
            self._may_be_torn = False
        except OSError as error:
            return error
        except Exception as error:
            # No thread is to be had, no memory, a path that is none: all the same to who waits.
            return OSError(f"{type(error).__name__}: {error}")
        return None


def _tell(lines: Iterable[Line], failure: OSError | None) -> None:
    """Let those go on who have not been told yet."""
    for _, told in lines:
        if told.done():
            continue
        if failure is None:
            told.set_result(None)
        else:
            told.set_exception(failure)
            told.exception()  # looked at: nobody may wait for it any more


def _append(path: Path, text: str, *, may_be_torn: bool) -> None:
    with open(path, "a", encoding="ascii", opener=_at_once) as file:
        # Half a line is nobody's, and must not make the next one unreadable.
        file.write("\n" + text if may_be_torn and _is_torn(path) else text)
        file.flush()
        os.fsync(file.fileno())


def _is_torn(path: Path) -> bool:
    with open(path, "rb", opener=_at_once) as file:
        size = os.fstat(file.fileno()).st_size
        return size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"


def _at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe that nobody reads is an error, not the end of all changes."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)
