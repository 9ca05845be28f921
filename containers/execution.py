"""ExecutionContainer: what one execution (a request, a run of a workflow) has for all of its actions."""

from __future__ import annotations

from containers.keys import DB
from nebula_resource import ScopeLevel
from nebula_resource.di import Leased, ResourceContainer, ScopedSingleton

__all__ = ["ExecutionContainer", "Notes"]


class Notes(list[str]):
    """What the actions of one execution tell each other."""


class ExecutionContainer(ResourceContainer):
    """One transaction that spans the execution, and one notebook."""

    db = Leased(DB, hold=ScopeLevel.EXECUTION)
    notes = ScopedSingleton(ScopeLevel.EXECUTION, Notes)
