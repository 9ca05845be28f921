"""Leaks: where a handle was acquired, kept as raw positions and put into words only when it is reported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, TypeAlias

__all__ = ["FRAMES", "Positions", "caller_depth", "caller_frame", "capture_six", "describe"]

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
"""The folder of this package: its own frames are nobody's fault."""
FRAMES = 6
"""How many callers are remembered."""

Positions: TypeAlias = "tuple[CodeType | int, ...]"
"""Code and last instruction in turn, the nearest caller first."""


def capture_six(frame: FrameType | None) -> Positions:
    """The positions of this frame and its five callers.

    Written out: a loop costs half as much again, and this runs on every acquire of a pool that looks for leaks.
    """
    try:
        second = frame.f_back  # type: ignore[union-attr]  # a missing frame is what the except is for
        third = second.f_back  # type: ignore[union-attr]
        fourth = third.f_back  # type: ignore[union-attr]
        fifth = fourth.f_back  # type: ignore[union-attr]
        sixth = fifth.f_back  # type: ignore[union-attr]
        return (
            frame.f_code, frame.f_lasti, second.f_code, second.f_lasti, third.f_code, third.f_lasti,  # type: ignore[union-attr]
            fourth.f_code, fourth.f_lasti, fifth.f_code, fifth.f_lasti, sixth.f_code, sixth.f_lasti,  # type: ignore[union-attr]
        )  # fmt: skip  # pairs in a row
    except AttributeError:
        return _capture_fewer(frame)


def caller_frame() -> FrameType | None:
    """The nearest frame outside this package: whoever asked for the use."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return frame


def caller_depth() -> int:
    """How many frames above the one that asks the nearest frame outside this package is."""
    depth = 1
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
        depth += 1
    return depth


def _capture_fewer(frame: FrameType | None) -> Positions:
    positions: list[CodeType | int] = []
    while frame is not None:
        positions += (frame.f_code, frame.f_lasti)
        frame = frame.f_back
    return tuple(positions)


def describe(positions: Positions | None) -> tuple[str, ...]:
    """``file:line in function`` for each position, nearest first."""
    words = []
    known: Iterator[Any] = iter(positions or ())
    for code, lasti in zip(known, known, strict=True):
        words.append(f"{code.co_filename}:{_line(code, lasti)} in {code.co_qualname}")
    return tuple(words)


def _line(code: CodeType, lasti: int) -> int:
    for start, end, line in code.co_lines():
        if start <= lasti < end and line is not None:
            return line
    return code.co_firstlineno
