"""ResourceProvider: the port through which an action gets resources, whoever runs it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

__all__ = ["ResourceProvider"]


@runtime_checkable
class ResourceProvider(Protocol):
    """Gives an action its resources: a manager's (`Resources`), or a test's own."""

    async def acquire(self, key: str, /) -> Any:
        """The value for this key; it is given back when the action ends, with the outcome. Raises `ResourceError`."""
        ...

    def exists(self, key: str, /) -> bool:
        """Whether this key can be acquired here at all; it says nothing of health or load."""
        ...
