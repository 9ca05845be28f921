"""Pool: keeps instances of one resource, lends each to one caller at a time, and loses none."""

from __future__ import annotations

from nebula_resource.pool.config import Backpressure, OnError, PoolConfig, PoolStrategy, Sharing, UseTiming
from nebula_resource.pool.handle import Acquisition, Handle, Usage
from nebula_resource.pool.pool import Pool

__all__ = [
    "Acquisition",
    "Backpressure",
    "Handle",
    "OnError",
    "Pool",
    "PoolConfig",
    "PoolStrategy",
    "Sharing",
    "Usage",
    "UseTiming",
]
