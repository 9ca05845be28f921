"""Application: the demo as a FastAPI app, written as any user of the library would."""

from __future__ import annotations

from fastapi import FastAPI

from app.demo import orders
from app.demo.tenants import TENANTS, tenant_of
from nebula_resource import Manager
from nebula_resource.fastapi import BearerResolver, Claims, install
from nebula_resource.workflow import WorkflowExecutor

__all__ = ["create_demo"]


def create_demo(manager: Manager, executor: WorkflowExecutor) -> FastAPI:
    """Make the application of the tenants: whoever shows no tenant's token gets 401."""
    demo = FastAPI(
        title="nebula-resource demo", summary=f"Orders of {', '.join(TENANTS)}", redirect_slashes=False
    )
    demo.include_router(orders.router)
    demo.state.executor = executor
    install(demo, manager, resolver=BearerResolver(who), require_tenant=True, shutdown=False)
    return demo


def who(token: str) -> Claims | None:
    """Whose token it is."""
    tenant = tenant_of(token)
    return None if tenant is None else Claims(tenant=tenant)
