"""Principal: who asks: a name, a role, and the one tenant it is bound to, if any."""

from __future__ import annotations

from dataclasses import dataclass

from nebula_resource.admin.auth.role import Role
from nebula_resource.model.scope import Scope

__all__ = ["LOCAL", "Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. A bound one sees only what names its tenant; everything else does not exist for it."""

    name: str
    """Of the key; it stands in the audit and in ``by`` of a quarantine."""
    role: Role
    tenant: str | None = None
    is_local: bool = False
    """No credentials are configured: anybody on this machine."""

    def sees(self, scope: Scope) -> bool:
        """Whether something in this scope exists for it."""
        return self.tenant is None or scope.tenant_id == self.tenant


LOCAL = Principal("local", Role.ADMIN, is_local=True)
"""Any loopback peer, where no credentials are configured."""
