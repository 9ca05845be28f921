"""PlainFile: reads a file that a person named, and nothing that could keep its reader waiting: no pipe, no device."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["NotPlain", "read_plain"]


class NotPlain(OSError):
    """What stands there is a pipe, a device or a socket: whoever reads it may wait for ever."""


def read_plain(path: Path, most: int) -> bytes:
    """Return what a regular file holds, ``most`` bytes of it and one more at the most: one more says that it has more.

    Raises `NotPlain`, another `OSError`, and `ValueError` for what is no path.
    """
    # A pipe is opened at once this way, whether or not somebody writes; what it is is asked of what was opened.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        kind = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(f"{path} is a folder")
        if not stat.S_ISREG(kind):
            raise NotPlain(f"{path} is no regular file")
        return file.read(most + 1)
