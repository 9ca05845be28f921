"""FastAPI: leases as dependencies, scopes around requests, errors as problems."""

from __future__ import annotations

from nebula_resource._extras import needs_extra

with needs_extra(__name__, "fastapi"):
    from nebula_resource.fastapi.dependency import ResourceDependency, resource
    from nebula_resource.fastapi.install import install
    from nebula_resource.fastapi.middleware import NebulaMiddleware
    from nebula_resource.fastapi.problems import ProblemResponse, problem_response
    from nebula_resource.fastapi.resolvers import (
        BearerResolver,
        ClaimResolver,
        Claims,
        HeaderResolver,
        PathResolver,
        Refused,
        Resolver,
    )

__all__ = [
    "BearerResolver",
    "ClaimResolver",
    "Claims",
    "HeaderResolver",
    "NebulaMiddleware",
    "PathResolver",
    "ProblemResponse",
    "Refused",
    "Resolver",
    "ResourceDependency",
    "install",
    "problem_response",
    "resource",
]
