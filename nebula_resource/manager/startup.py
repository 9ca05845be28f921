"""Startup: validates a registration, and opens it as soon as what it needs is open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from nebula_resource.errors import (
    CircularDependency,
    ConfigurationError,
    DependencyFailure,
    FieldViolation,
    ResourceNotFound,
    Unavailable,
    ValidationFailed,
)
from nebula_resource.manager.dependencies import DependencyGraph
from nebula_resource.manager.registration import Cause, Registration, RegistrationState, public_id
from nebula_resource.manager.registry import Registry
from nebula_resource.model.config import validate_config
from nebula_resource.model.key import check_resource_id
from nebula_resource.model.resource import Resource
from nebula_resource.model.scope import Scope, ScopeLevel, Strategy
from nebula_resource.pool import PoolConfig

if TYPE_CHECKING:
    from nebula_resource.manager.watch import Watch

__all__ = ["Startup", "checked_config", "config_model"]


def config_model(resource: Resource[Any, Any, Any]) -> type[BaseModel] | None:
    """The pydantic model a resource names as its config type: ``Resource[DbConfig, ...]``, or ``config_type``."""
    named = getattr(resource, "config_type", None)
    if isinstance(named, type) and issubclass(named, BaseModel):
        return named
    for cls in type(resource).__mro__:
        for base in getattr(cls, "__orig_bases__", ()):
            arguments = get_args(base)
            origin = get_origin(base)
            if arguments and isinstance(origin, type) and issubclass(origin, Resource):
                first = arguments[0]
                if isinstance(first, type) and issubclass(first, BaseModel):
                    return first
    return None


def checked_config(resource: Resource[Any, Any, Any], config: Any) -> Any:
    """The config, validated by its model and by the resource. Raises `ValidationFailed` with every violation."""
    model = config_model(resource)
    if model is None and isinstance(config, BaseModel):
        model = type(config)
    if config is None and model is not None:
        config = {}  # every field at its default, or a violation for each that has none
    try:
        checked = validate_config(model, config) if model is not None else config
    except ValidationFailed as error:
        raise ValidationFailed(error.violations, resource_id=resource.id) from None
    violations = list(resource.validate_config(checked))
    if violations:
        raise ValidationFailed(violations, resource_id=resource.id)
    return checked


class Startup:
    """Brings registrations up, in whatever order they come."""

    def __init__(
        self,
        registry: Registry,
        graph: DependencyGraph[str],
        watch: Watch,
        build: Callable[[Registration], None],
        opened: Callable[[Registration], None],
    ) -> None:
        self._registry = registry
        self._graph = graph
        self._watch = watch
        self._build = build
        self._opened = opened

    # ── before anything changes ──

    def check(
        self,
        resource: Resource[Any, Any, Any],
        config: Any,
        pool: PoolConfig | Mapping[str, Any] | None,
        scope: Scope,
    ) -> tuple[Any, PoolConfig]:
        """Validate everything that can be wrong, all at once; nothing is changed."""
        if not isinstance(resource, Resource):
            raise ConfigurationError(
                "register takes an instance of a Resource subclass, not the class itself"
            )
        check_resource_id(getattr(resource, "id", None))
        violations: list[FieldViolation] = []
        checked = pool_config = None
        try:
            checked = checked_config(resource, config)
        except ValidationFailed as error:
            violations += error.violations
        try:
            pool_config = PoolConfig.of(pool)
        except ValidationFailed as error:
            violations += [
                each
                if each.field.startswith("pool.")
                else FieldViolation(f"pool.{each.field}", each.constraint, each.actual)
                for each in error.violations
            ]
        level = resource.min_level
        if level is not ScopeLevel.GLOBAL and not any(each == level for each, _ in scope.fields):
            violations.append(
                FieldViolation(
                    "scope",
                    f"must name a {level.name.lower()}: this resource holds one's data",
                    scope.level.name.lower(),
                )
            )
        if violations:
            raise ValidationFailed(violations, resource_id=resource.id)
        assert pool_config is not None, "no violation, so it was made"
        return checked, pool_config

    def link(self, registration: Registration) -> None:
        """Enter it and its edges in the graph. Raises `CircularDependency`, with nothing changed."""
        self._graph.add(registration.public_id, self._targets(registration))

    def relink(self, key: str) -> None:
        """An id came or went: those who need it may mean another registration now."""
        for each in self._registry:
            if key in each.dependencies:
                try:
                    self._graph.add(each.public_id, self._targets(each))
                except CircularDependency as error:
                    raise ConfigurationError(
                        f"with this registration there would be a circle: {' → '.join(error.cycle)}",
                        resource_id=key,
                    ) from error

    def _targets(self, registration: Registration) -> list[str]:
        """The public ids of what it needs; of what is not registered yet, the id it would have globally."""
        targets = []
        for key in registration.dependencies:
            found = self.dependency(registration, key)
            targets.append(public_id(key, Scope.GLOBAL) if found is None else found.public_id)
        return targets

    def dependency(self, registration: Registration, key: str) -> Registration | None:
        """The registration that a dependency means, seen from the dependent's own scope."""
        try:
            return self._registry.search(key, registration.scope, Strategy.HIERARCHICAL)
        except ResourceNotFound:
            return None

    # ── opening ──

    def missing(self, registration: Registration) -> str | None:
        """The first dependency that is not open."""
        for key in registration.dependencies:
            found = self.dependency(registration, key)
            if found is None or not found.is_open:
                return key
        return None

    async def open(self, registration: Registration) -> None:
        """Open it if what it needs is open, and then those that waited for it; else it stays CREATED.

        Raises what the opening raised.
        """
        if registration.state is not RegistrationState.CREATED:
            return
        missing = self.missing(registration)
        if missing is not None:
            registration.refuse(Cause.NOT_OPEN, self._needs(registration, missing))
            return
        registration.state = RegistrationState.OPENING
        registration.refuse(Cause.NOT_OPEN, self._not_open(registration))
        self._build(registration)
        try:
            await registration.pool.open()
        except BaseException:
            if registration.state is RegistrationState.OPENING:
                registration.state = RegistrationState.CREATED
            raise
        if registration.state is not RegistrationState.OPENING:
            return  # it was shut down meanwhile, and its pool with it
        registration.state = RegistrationState.READY
        registration.allow(Cause.NOT_OPEN)
        self._opened(registration)
        if registration.refusal is None:
            await self.open_dependents(registration)

    async def open_dependents(self, registration: Registration) -> None:
        """Open those that waited for it, now that it can be had."""
        for each in self._registry:
            waits = registration.key in each.dependencies and each.state is RegistrationState.CREATED
            if waits and each.public_id not in self._watch.quarantine:
                await self.open_or_quarantine(each)

    async def open_or_quarantine(self, registration: Registration) -> None:
        """Open it; when that fails it stays registered, quarantined and recovering."""
        try:
            await self.open(registration)
        except asyncio.CancelledError:
            raise
        except Exception:
            self._watch.quarantine_failed_opening(registration)

    async def reopen(self, registration: Registration) -> None:
        """A recovery attempt of one that never opened. Raises what the opening raised."""
        await self.open(registration)

    def _needs(self, registration: Registration, missing: str) -> Callable[[], DependencyFailure]:
        return lambda: DependencyFailure(self.missing(registration) or missing, resource_id=registration.key)

    def _not_open(self, registration: Registration) -> Callable[[], Unavailable]:
        return lambda: Unavailable("not_open", resource_id=registration.key, retryable=True)
