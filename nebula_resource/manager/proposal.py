"""Proposal: what a caller of register asks for, checked as a whole before anything changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from nebula_resource.errors import ConfigurationError, FieldViolation, ValidationFailed
from nebula_resource.model.config import validate_config
from nebula_resource.model.health import HealthPolicy
from nebula_resource.model.key import check_resource_id
from nebula_resource.model.policy import OFF
from nebula_resource.model.resource import Resource
from nebula_resource.model.scope import Scope, ScopeLevel
from nebula_resource.pool import PoolConfig
from nebula_resource.pool.fit import misfits
from nebula_resource.quarantine import QuarantinePolicy

__all__ = ["check_policies", "check_proposal", "checked_config", "config_model"]


def check_proposal(
    resource: Resource[Any, Any, Any],
    config: Any,
    pool: PoolConfig | Mapping[str, Any] | None,
    scope: Scope,
) -> tuple[Any, PoolConfig]:
    """Return the validated config and pool config; nothing is changed.

    Raises `ValidationFailed` with every violation of the config, the pool, the dependencies and the scope, and
    `ConfigurationError` for what is no resource or no scope at all.
    """
    if not isinstance(resource, Resource):
        raise ConfigurationError("register takes an instance of a Resource subclass, not the class itself")
    check_resource_id(getattr(resource, "id", None))
    if not isinstance(scope, Scope):
        raise ConfigurationError(
            f"scope is a Scope, such as Scope.tenant('acme'), not {type(scope).__name__}",
            resource_id=resource.id,
        )
    violations: list[FieldViolation] = []
    checked = pool_config = None
    try:
        checked = checked_config(resource, config)
    except ValidationFailed as error:
        violations += error.violations
    try:
        pool_config = PoolConfig.of(pool)
    except ValidationFailed as error:
        violations += map(_of_the_pool, error.violations)
    else:
        violations += map(_of_the_pool, misfits(resource, pool_config))
    violations += _wrong_dependencies(resource.dependencies)
    violations += _wrong_scope(resource.min_level, scope)
    if violations:
        raise ValidationFailed(violations, resource_id=resource.id)
    assert pool_config is not None, "no violation, so it was made"
    return checked, pool_config


def check_policies(health: object, quarantine: object) -> None:
    """Raise `ValidationFailed` for what is neither a policy, nor OFF, nor None."""
    violations = [
        FieldViolation(field, f"must be a {kind.__name__}, OFF or None", type(given).__name__)
        for field, given, kind in (
            ("health", health, HealthPolicy),
            ("quarantine", quarantine, QuarantinePolicy),
        )
        if not (given is None or given is OFF or isinstance(given, kind))
    ]
    if violations:
        raise ValidationFailed(violations)


def checked_config(resource: Resource[Any, Any, Any], config: Any) -> Any:
    """The config, validated by its model and by the resource. Raises `ValidationFailed` with every violation."""
    model = config_model(resource)
    if model is None and isinstance(config, BaseModel):
        model = type(config)
    if config is None and model is not None:
        config = {}  # every field at its default, or a violation for each that has none
    checked = validate_config(model, config) if model is not None else config
    violations = list(resource.validate_config(checked))
    if violations:
        raise ValidationFailed(violations)
    return checked


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


def _of_the_pool(violation: FieldViolation) -> FieldViolation:
    """The path of a setting as `register` has it; of what is no settings at all it is that already."""
    field = violation.field
    return FieldViolation(
        field if field == "pool" else f"pool.{field}", violation.constraint, violation.actual
    )


def _wrong_dependencies(dependencies: object) -> list[FieldViolation]:
    if isinstance(dependencies, str) or not isinstance(dependencies, Sequence):
        # The commonest slip, dependencies = "db", would mean the two resources d and b.
        rule = 'must be a sequence of resource ids, such as ("db",)'
        return [FieldViolation("dependencies", rule, type(dependencies).__name__)]
    violations: list[FieldViolation] = []
    for number, each in enumerate(dependencies):
        try:
            check_resource_id(each, field=f"dependencies.{number}")
        except ValidationFailed as error:
            violations += error.violations
    return violations


def _wrong_scope(level: ScopeLevel, scope: Scope) -> list[FieldViolation]:
    if level is ScopeLevel.GLOBAL or any(each == level for each, _ in scope.fields):
        return []
    rule = f"must name a {level.name.lower()}: this resource holds one's data"
    return [FieldViolation("scope", rule, scope.level.name.lower())]
