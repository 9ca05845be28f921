"""Auth: who asks, what they may do, and how a route says so."""

from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.auth.role import Role

__all__ = ["Principal", "Role"]
