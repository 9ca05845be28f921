"""Fit: what a pool's settings ask of its resource, and the resource does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nebula_resource.errors import FieldViolation
from nebula_resource.model.resource import Resource, overrides

if TYPE_CHECKING:
    from nebula_resource.pool.config import PoolConfig

__all__ = ["misfits"]


def misfits(resource: Resource[Any, Any, Any], config: PoolConfig) -> list[FieldViolation]:
    """The settings that could do nothing with this resource: each is refused, for whoever set it counts on it."""
    if config.keepalive_interval is None or overrides(resource, "is_valid"):
        return []
    rule = "must be None: it probes by is_valid, which this resource leaves at its default"
    return [FieldViolation("keepalive_interval", rule, str(config.keepalive_interval))]
