"""ResourceSection: one ``[resources.NAME]``: a resource, its configuration and its policies, checked as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nebula_resource.errors import ConfigurationError, FieldViolation, ValidationFailed
from nebula_resource.manager.proposal import check_proposal, checked_config, config_model
from nebula_resource.model.config import fingerprint
from nebula_resource.model.health import HealthPolicy
from nebula_resource.model.key import check_resource_id
from nebula_resource.model.policy import Off
from nebula_resource.model.resource import Resource
from nebula_resource.model.scope import Scope
from nebula_resource.pool import PoolConfig
from nebula_resource.quarantine import QuarantinePolicy
from nebula_resource.service.driver_table import Driver, find_driver
from nebula_resource.service.findings import Findings, near, under
from nebula_resource.service.policy_tables import config_shown, plain, policy_of, policy_shown, pool_of
from nebula_resource.service.secret_references import SecretReferences

__all__ = ["DeclaredResource", "read_resource"]

_KNOWN = frozenset(
    {"driver", "id", "scope", "dependencies", "required", "cross_tenant", "config", "pool", "health", "quarantine"}
)  # fmt: skip  # one list of names
_LATER = frozenset({"template", "autoscale", "budget"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredResource:
    """What a file says of one resource, valid; ``name`` is its table's."""

    name: str
    driver: str
    resource: Resource[Any, Any, Any] = field(repr=False)
    config: Any = field(repr=False)
    pool: PoolConfig = field(repr=False)
    scope: Scope
    health: HealthPolicy | Off | None = None
    quarantine: QuarantinePolicy | Off | None = None
    required: bool = False
    cross_tenant: bool = False

    @property
    def key(self) -> tuple[str, Scope]:
        """What it is registered under."""
        return (str(self.resource.id), self.scope)

    def is_made_like(self, other: DeclaredResource) -> bool:
        """Whether the other's resource serves for this one too."""
        return (
            self.driver == other.driver
            and self.resource.id == other.resource.id
            and tuple(self.resource.dependencies) == tuple(other.resource.dependencies)
        )

    def says_the_same_as(self, other: DeclaredResource) -> bool:
        """Whether nothing would change between the two, secrets included."""
        return (
            self.is_made_like(other)
            and self.scope == other.scope
            and (self.pool, self.health, self.quarantine) == (other.pool, other.health, other.quarantine)
            and (self.required, self.cross_tenant) == (other.required, other.cross_tenant)
            and _digest(self.config) == _digest(other.config)
        )

    def shown(self) -> dict[str, Any]:
        """For people: JSON values, secrets masked, every default written out."""
        return {
            "driver": self.driver,
            "id": str(self.resource.id),
            "scope": str(self.scope),
            "dependencies": list(self.resource.dependencies),
            "required": self.required,
            "cross_tenant": self.cross_tenant,
            "config": config_shown(self.config),
            "pool": plain(self.pool.to_dict()),
            "health": policy_shown(self.health),
            "quarantine": policy_shown(self.quarantine),
        }


def read_resource(
    name: str, value: object, *, base: Path, references: SecretReferences, findings: Findings
) -> DeclaredResource | None:
    """Return what the table says; None when something is wrong, which is noted."""
    path = under("resources", name)
    before = len(findings)
    table = findings.table(path, value)
    if table is None:
        return None
    _refuse_unknown(path, table, findings)
    driver = _driver(path, table, findings)
    scope = _scope(path, table, findings)
    dependencies = _dependencies(path, table, findings)
    flags = {each: _flag(path, table, each, findings) for each in ("required", "cross_tenant")}
    health = policy_of(HealthPolicy, path, "health", table, findings, without="stages")
    quarantine = policy_of(QuarantinePolicy, path, "quarantine", table, findings, without="strategy")
    pool = pool_of(path, {} if driver is None else driver.pool, table, findings)
    resource = None if driver is None else _resource(path, name, driver, table, dependencies, findings)
    if driver is None or resource is None:
        _unread_config(path, table, references)
        return None
    config = _config(path, driver, resource, table, base, references, findings)
    if len(findings) > before or pool is None:
        return None
    try:
        check_proposal(resource, config, pool, scope)
    except ValidationFailed as error:
        findings.take(path, error)
        return None
    return DeclaredResource(
        name=name,
        driver=driver.name,
        resource=resource,
        config=config,
        pool=pool,
        scope=scope,
        health=health,
        quarantine=quarantine,
        **flags,
    )


# ── the parts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _refuse_unknown(path: str, table: dict[str, Any], findings: Findings) -> None:
    for key in sorted(_LATER & set(table)):
        findings.add(under(path, key), "is not supported yet: leave it out", "a setting of a later version")
    rest = {key: value for key, value in table.items() if key not in _LATER}
    findings.unknown(path, rest, _KNOWN, "a resource")


def _driver(path: str, table: dict[str, Any], findings: Findings) -> Driver | None:
    name = table.get("driver")
    if not isinstance(name, str):
        found = "nothing" if name is None else type(name).__name__
        findings.add(under(path, "driver"), 'must be the name of a driver, such as "sqlite"', found)
        return None
    try:
        return find_driver(name)
    except ConfigurationError as error:
        findings.add(under(path, "driver"), error.message)
        return None


def _resource(
    path: str,
    name: str,
    driver: Driver,
    table: dict[str, Any],
    dependencies: list[str] | None,
    findings: Findings,
) -> Resource[Any, Any, Any] | None:
    id_ = table.get("id", name)
    try:
        check_resource_id(id_, field="id" if "id" in table else "")
    except ValidationFailed as error:
        findings.take(path, error)
        return None
    try:
        return driver.make(id_, dependencies)
    except ConfigurationError as error:
        findings.add(under(path, "driver"), error.message)
        return None


def _scope(path: str, table: dict[str, Any], findings: Findings) -> Scope:
    text = table.get("scope", "global")
    try:
        if isinstance(text, str):
            return Scope.parse(text)
    except ConfigurationError:
        pass
    found = "" if isinstance(text, str) else type(text).__name__
    findings.add(under(path, "scope"), "must be a scope such as global or tenant:acme", found)
    return Scope.GLOBAL


def _dependencies(path: str, table: dict[str, Any], findings: Findings) -> list[str] | None:
    """None: those that the resource declares itself."""
    given = table.get("dependencies")
    if given is None:
        return None
    here = under(path, "dependencies")
    if not isinstance(given, list):
        findings.add(here, "must be a list of resource ids", type(given).__name__)
        return []
    for number, each in enumerate(given):
        if not isinstance(each, str):
            findings.add(under(here, number), "must be the id of a resource", type(each).__name__)
    return [each for each in given if isinstance(each, str)]


def _flag(path: str, table: dict[str, Any], name: str, findings: Findings) -> bool:
    given = table.get(name, False)
    if isinstance(given, bool):
        return given
    findings.add(under(path, name), "must be true or false", type(given).__name__)
    return False


def _config(
    path: str,
    driver: Driver,
    resource: Resource[Any, Any, Any],
    table: dict[str, Any],
    base: Path,
    references: SecretReferences,
    findings: Findings,
) -> Any:
    """The validated configuration; what is wrong is noted."""
    here = under(path, "config")
    given = findings.table(here, table.get("config", {}))
    if given is None:
        return None
    before = len(findings)
    config = references.resolve(given, config_model(resource), here)
    renamed: dict[str, str] = {}
    if driver.translate is not None:
        config, wrong, renamed = driver.translate(config, base)
        findings.take(here, ValidationFailed(wrong))
    known = {each.field for each in findings.violations[before:]}
    try:
        return checked_config(resource, config)
    except ValidationFailed as error:
        left = [
            each
            for each in error.violations
            # Of a secret that is missing or misplaced, its own rules have nothing to say.
            if under(here, renamed.get(each.field, each.field)) not in known
        ]
        left = [_hinted(each, driver, resource) for each in left]
        if left:
            findings.take(here, ValidationFailed(left), renamed=renamed)
        return None
    except Exception as error:  # a resource's own check broke; its text may hold the input
        findings.add(here, f"must pass the resource's own checks, one of which raised {type(error).__name__}")
        return None


def _hinted(violation: FieldViolation, driver: Driver, resource: Resource[Any, Any, Any]) -> FieldViolation:
    """Of an unknown setting, the known one that is closest; of an address that is missing, how it is given."""
    model = config_model(resource)
    if violation.field == "url" and violation.actual == "nothing" and driver.short:
        where = f"must be given: {', '.join(driver.short)} or url say where it is"
        return FieldViolation(driver.short[0], where, violation.actual)
    if model is None or violation.field in model.model_fields or "." in violation.field:
        return violation
    hint = near(violation.field, (*driver.short, *model.model_fields))
    return FieldViolation(violation.field, f"is no setting of this driver{hint}", "an unknown key")


def _unread_config(path: str, table: dict[str, Any], references: SecretReferences) -> None:
    """Without a driver nobody knows what the configuration means: what its names say is looked at all the same."""
    references.resolve(table.get("config", {}), None, under(path, "config"))


def _digest(config: Any) -> Any:
    return (type(config), fingerprint(config)) if isinstance(config, BaseModel) else config
