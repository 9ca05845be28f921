"""ApplicationContainer: the composition root: settings, the manager, and the content of every level."""

from __future__ import annotations

from typing import Any

from dependency_injector import providers

from containers.action import ActionContainer
from containers.execution import ExecutionContainer
from containers.keys import DB, PAYMENTS
from containers.tenant import TenantContainer
from containers.workflow import WorkflowContainer
from nebula_resource.di import Leased, ManagerProvider, ResourceContainer
from nebula_resource.workflow import WorkflowExecutor

__all__ = ["ApplicationContainer"]


class ApplicationContainer(ResourceContainer):
    """One per process: ``ApplicationContainer(settings=settings, setup=register_all)``.

    ``settings`` is the application's own object. ``setup`` is called with the manager by ``init_resources`` and
    registers what the application keeps. Handlers and actions ask for ``Provide["db"]``, or for a level's own:
    ``Provide["execution.db"]`` is one transaction for the whole execution.
    """

    settings: providers.Dependency[Any] = providers.Dependency()
    setup: providers.Dependency[Any] = providers.Dependency()

    manager = ManagerProvider(setup)
    workflows = providers.Singleton(WorkflowExecutor, manager)

    tenant = providers.Container(TenantContainer)
    workflow = providers.Container(WorkflowContainer)
    execution = providers.Container(ExecutionContainer)
    action = providers.Container(ActionContainer)

    db = Leased(DB)
    payments = Leased(PAYMENTS)
