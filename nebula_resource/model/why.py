"""Why: what may be told of an error to whoever looks on: its type; of one of our own drivers', what it says."""

from __future__ import annotations

from nebula_resource.errors import ResourceError

__all__ = ["why"]

_DRIVERS = "nebula_resource.drivers."


def why(error: BaseException) -> str:
    """The text of an error of a driver of ours, which is made of fixed words and holds no secret; else the type's name.

    The text of any other may hold whatever its author, or a server, put into it.
    """
    if isinstance(error, ResourceError) and type(error).__module__.startswith(_DRIVERS):
        return error.message
    return type(error).__name__
