"""Queries: how the PromQL of the panels is put together, so that each says only what it asks."""

from __future__ import annotations

__all__ = ["HERE", "N", "grown", "here", "of_pool", "of_resource", "quantile", "rate", "since", "spread"]

N = "nebula_resource_"
HERE = 'job=~"$job", instance=~"$instance"'
POOL = f'{HERE}, pool=~"$pool", driver=~"$driver"'
RESOURCE = f'{HERE}, resource=~"$pool"'  # a pool's name is its resource's id


def of_pool(name: str, more: str = "") -> str:
    """A metric of the chosen pools."""
    return _selected(name, POOL, more)


def of_resource(name: str, more: str = "") -> str:
    """A metric of the chosen pools' resources."""
    return _selected(name, RESOURCE, more)


def here(name: str, more: str = "") -> str:
    """A metric of the chosen processes."""
    return _selected(name, HERE, more)


def rate(selected: str, by: str = "") -> str:
    """Events a second, added up by labels."""
    return _sum(f"rate({selected}[$__rate_interval])", by)


def grown(selected: str, by: str = "", window: str = "$__rate_interval") -> str:
    """How much a counter grew in a window, added up by labels; one that began in it grew by all that it holds.

    ``increase`` alone sees nothing of a counter whose first sample is 1: the only cascade of a process would be none.
    """
    return _sum(f"({selected} unless {selected} offset {window}) or increase({selected}[{window}])", by)


def spread(buckets: str) -> str:
    """How many lay in each bucket."""
    return _sum(f"increase({buckets}[$__rate_interval])", "le")


def quantile(share: float, buckets: str, by: str = "") -> str:
    """The value (seconds) below which this share lies."""
    return f"histogram_quantile({share}, {rate(buckets, f'{by}, le' if by else 'le')})"


def since(timestamp: str, by: str) -> str:
    """Seconds since a moment, the earliest of those that share their labels."""
    return f"time() - min by ({by}) ({timestamp})"


def _selected(name: str, labels: str, more: str) -> str:
    return f"{N}{name}{{{labels}{f', {more}' if more else ''}}}"


def _sum(each: str, by: str) -> str:
    return f"sum by ({by}) ({each})" if by else f"sum({each})"
