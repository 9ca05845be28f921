"""Common: the parts that many answers share: process, scope, problem, list."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from functools import lru_cache
from typing import Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from nebula_resource.admin.paging import DEFAULT_LIMIT, MAX_LIMIT
from nebula_resource.model.scope import Scope

__all__ = [
    "MAX_REASON",
    "Body",
    "NoQuery",
    "Page",
    "ProblemView",
    "ProcessView",
    "Query",
    "Reason",
    "ScopeView",
    "process_view",
    "scope_id",
    "scope_view",
    "whole",
]

MAX_REASON = 500
"""Characters of a reason."""


class ProcessView(TypedDict):
    """Which process answered."""

    host: str
    pid: int
    boot_id: str


def process_view(boot_id: str) -> ProcessView:
    """This one."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "boot_id": boot_id}


class ScopeView(TypedDict):
    """Where a registration lives."""

    id: str
    level: str
    label: str | None


@lru_cache(maxsize=4096)
def scope_id(scope: Scope) -> str:
    """An id that tells nothing of the scope: ``scp_`` and ten characters of a digest."""
    digest = hashlib.sha256(str(scope).encode()).digest()
    return f"scp_{base64.b32encode(digest).decode().lower()[:10]}"


def scope_view(scope: Scope) -> ScopeView:
    """As an answer shows it; the label is its tenant."""
    return {"id": scope_id(scope), "level": scope.level.name.lower(), "label": scope.tenant_id}


class ViolationView(TypedDict):
    """One thing that is wrong with a request."""

    pointer: str
    code: str
    message: str


class ProblemView(TypedDict):
    """RFC 9457; nothing in it repeats the request."""

    type: str
    title: str
    status: int
    detail: NotRequired[str]
    instance: str
    code: str
    retry_after_s: NotRequired[float]
    errors: NotRequired[list[ViolationView]]
    candidates: NotRequired[list[str]]
    health: NotRequired[dict[str, Any]]


class Query(BaseModel):
    """Query parameters; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(Query):
    """None at all."""


class Page(Query):
    """Which part of a list."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: str | None = Field(default=None, max_length=2048)


class Body(BaseModel):
    """A request's body; an unknown field is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


def whole(value: Any) -> Any:
    """JSON has one kind of number: 5.0 is the integer 5 (JSON Schema says so too)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Reason(Body):
    """Why somebody does something; it stands in the audit."""

    reason: str = Field(min_length=1, max_length=MAX_REASON)
    dry_run: bool = False


Format = Literal["json", "mermaid", "dot"]
