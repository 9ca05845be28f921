"""ActionContainer: what one action has to itself."""

from __future__ import annotations

from containers.keys import DB, PAYMENTS
from nebula_resource.di import Leased, ResourceContainer

__all__ = ["ActionContainer"]


class ActionContainer(ResourceContainer):
    """Leases that end with the action; outside an action, with whatever scope is innermost (a request)."""

    db = Leased(DB)
    payments = Leased(PAYMENTS)
