"""Auth: who asks, what they may do, and how a route says so."""

from nebula_resource.admin.auth.authority import Authority
from nebula_resource.admin.auth.key import Key
from nebula_resource.admin.auth.key_source import KeyFile, KeyList, KeySource
from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.auth.role import Role

__all__ = ["Authority", "Key", "KeyFile", "KeyList", "KeySource", "Principal", "Role"]
