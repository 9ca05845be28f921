"""Admin: the HTTP API and the live page of one manager, mountable into any ASGI application."""

from nebula_resource._extras import needs_extra

with needs_extra(__name__, "fastapi"):
    from nebula_resource.admin.app import create_admin
    from nebula_resource.admin.auth import Key, KeyFile, KeyList, KeySource, Principal, Role
from nebula_resource.admin.settings import AdminSettings

__all__ = ["AdminSettings", "Key", "KeyFile", "KeyList", "KeySource", "Principal", "Role", "create_admin"]
