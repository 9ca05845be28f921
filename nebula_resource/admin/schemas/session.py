"""WhoView: who is asking, as the API sees it."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import TypedDict

from nebula_resource.admin.schemas.common import Body, ProcessView

__all__ = ["SignIn", "WhoView"]


class WhoView(TypedDict):
    """``csrf`` is what a browser's changes need in ``X-Nebula-Csrf``; None where there is no session."""

    name: str
    role: str
    tenant: str | None
    local: bool
    csrf: str | None
    process: ProcessView


class SignIn(Body):
    """Show a key once."""

    key: str = Field(min_length=1, max_length=256, repr=False)
