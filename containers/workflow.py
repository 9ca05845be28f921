"""WorkflowContainer: what all executions inside one open workflow share."""

from __future__ import annotations

import random

from nebula_resource import ScopeLevel
from nebula_resource.di import ResourceContainer, ScopedSingleton

__all__ = ["WorkflowContainer"]


class WorkflowContainer(ResourceContainer):
    """One source of jitter per workflow, so that its retries spread out."""

    jitter = ScopedSingleton(ScopeLevel.WORKFLOW, random.Random)
