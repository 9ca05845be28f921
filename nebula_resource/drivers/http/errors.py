"""Errors of the driver: a request to where it may not go."""

from __future__ import annotations

import httpx

__all__ = ["TargetRefused"]


class TargetRefused(httpx.ConnectError):
    """A request was refused before anything was sent: its host, port or address is not allowed.

    It is httpx's kind of error, so that a caller's handling of failed requests covers it. The text names the rule and
    no address: what an inner name resolves to is nobody's business.
    """
