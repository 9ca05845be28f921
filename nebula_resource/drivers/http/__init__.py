"""HTTP driver: one shared set of connections, lent as an httpx client, that reaches only what it may."""

from nebula_resource._extras import needs_extra

with needs_extra(__name__, "http"):
    from nebula_resource.drivers.http.config import HttpConfig, LoginInUrl
    from nebula_resource.drivers.http.errors import TargetRefused
    from nebula_resource.drivers.http.resource import HttpResource
    from nebula_resource.drivers.http.transport import HttpConnections

__all__ = ["HttpConfig", "HttpConnections", "HttpResource", "LoginInUrl", "TargetRefused"]
