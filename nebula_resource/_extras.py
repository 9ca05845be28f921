"""Extras: what needs more than the core says which extra brings it."""

from __future__ import annotations

from types import TracebackType

__all__ = ["needs_extra"]


class needs_extra:  # noqa: N801  # read as a verb: `with needs_extra(__name__, "di"):` around the imports
    """Tells whoever imports ``room`` without its needs which extra to install; the error stays what it is."""

    __slots__ = ("_extra", "_room")

    def __init__(self, room: str, extra: str) -> None:
        self._room = room
        self._extra = extra

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A module of ours that is missing is a fault of ours, which no extra mends.
        if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("nebula_resource"):
            error.add_note(f"{self._room} needs an extra: pip install 'nebula-resource[{self._extra}]'")
