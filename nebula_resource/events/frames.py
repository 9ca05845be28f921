"""Frames: where a user's code raised an error, told without the error's words: those may hold a secret."""

from __future__ import annotations

import traceback

__all__ = ["frames"]

MOST = 20
"""Frames that are told, the innermost ones."""


def frames(error: BaseException) -> list[str]:
    """Return ``file:line in function`` of each frame, the innermost last; for a log line's ``where``."""
    found = [
        f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return found[-MOST:]
