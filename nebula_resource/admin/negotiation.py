"""Negotiation: which of the kinds we have an Accept header asks for (RFC 9110 §12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["accepts"]


def accepts(header: str | None, offered: Sequence[str]) -> str | None:
    """Return the best of ``offered`` (the first wins a tie); None when none will do. No header: the first."""
    if header is None or not header.strip():
        return offered[0]
    ranges = [_range(part) for part in header.split(",")[:32]]
    best: tuple[float, str] | None = None
    for kind in offered:
        quality = _quality(kind, ranges)
        if quality > 0 and (best is None or quality > best[0]):
            best = (quality, kind)
    return None if best is None else best[1]


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                quality = 0.0
    return name, quality


def _quality(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Of the most specific range that names it."""
    for pattern in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        named = [quality for name, quality in ranges if name == pattern]
        if named:
            return max(named)
    return 0.0
