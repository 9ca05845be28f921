"""Checks: what can be known to be wrong before the first request."""

from __future__ import annotations

from nebula_resource.checks.validate import validate

__all__ = ["validate"]
