"""Declaration: everything that a configuration file says, valid as a whole, or all that is wrong with it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nebula_resource.errors import CircularDependency
from nebula_resource.manager import DependencyGraph
from nebula_resource.service.admin_section import AdminSection, read_admin
from nebula_resource.service.findings import Findings, near, under
from nebula_resource.service.resource_section import DeclaredResource, read_resource
from nebula_resource.service.secret_references import Contents, SecretReferences, read_secrets
from nebula_resource.service.toml_file import read_toml

__all__ = ["Declaration", "Source", "declare", "load"]

_SECTIONS = ("admin", "resources")
_LATER = ("scopes", "budgets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A valid configuration: nothing of it is opened.

    ``resources`` stand so that each comes after what it needs; ``files`` are the files that secrets came from, and
    the keys.
    """

    source: Path | None = None
    admin: AdminSection = field(default_factory=AdminSection)
    resources: tuple[DeclaredResource, ...] = ()
    files: frozenset[Path] = frozenset()

    def shown(self) -> dict[str, Any]:
        """For people: JSON values, secrets masked, every default written out."""
        admin = self.admin
        return {
            "admin": {
                "host": admin.host,
                "port": admin.port,
                "keys_file": None if admin.keys_file is None else str(admin.keys_file),
                "audit_file": None if admin.audit_file is None else str(admin.audit_file),
                "hosts": list(admin.hosts),
                "groups": {name: list(members) for name, members in admin.groups.items()},
                "page": admin.page,
                "tenant_metrics": list(admin.tenant_metrics),
                "max_streams": admin.max_streams,
                "path": admin.path,
                "log_level": admin.log_level,
                "log_format": admin.log_format,
            },
            "resources": {each.name: each.shown() for each in self.resources},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What there is to read, read: a file's document and the secrets beside it. ``path`` None: there is no file."""

    path: Path | None = None
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    secrets: Contents = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read a file and those it names for secrets. Raises `ConfigurationError` where it is no file that can be read."""
        document = read_toml(path)
        return cls(path=path, document=document, secrets=read_secrets(document, path.parent))


def load(
    path: Path,
    *,
    environment: Mapping[str, str] = os.environ,
    options: Mapping[str, Any] | None = None,
) -> Declaration:
    """Read a file. Raises `ConfigurationError` where it is none, and `ValidationFailed` with every violation.

    ``options`` are settings of ``[admin]`` from the command line; None as a value: not given.
    """
    return declare(Source.read(path), environment=environment, options=options)


def declare(
    source: Source,
    *,
    environment: Mapping[str, str] = os.environ,
    options: Mapping[str, Any] | None = None,
) -> Declaration:
    """Check a whole document. Relative paths in it start from its file's folder. Raises `ValidationFailed`."""
    document = source.document
    base = Path() if source.path is None else source.path.parent
    findings = Findings()
    references = SecretReferences(base, environment, source.secrets, findings)
    for key in document:
        if key in _LATER:
            findings.add(key, "is not supported yet: leave it out", "a section of a later version")
        elif key not in _SECTIONS:
            findings.add(under("", key), f"is no section{near(key, (*_SECTIONS, *_LATER))}", "an unknown key")
    table = findings.table("admin", document.get("admin", {})) or {}
    admin = read_admin(table, base, environment, options or {}, findings)
    named = findings.table("resources", document.get("resources", {})) or {}
    with warnings.catch_warnings():
        # Drivers warn of a login inside of a URL; here the whole URL is a secret that came by reference.
        warnings.simplefilter("ignore", UserWarning)
        read = [
            read_resource(name, value, base=base, references=references, findings=findings)
            for name, value in named.items()
        ]
    resources = [each for each in read if each is not None]
    _refuse_twins(resources, findings)
    ids = _ids(named)
    _refuse_strangers(named, resources, ids, findings)
    ordered = _ordered(resources, findings)
    _check_groups(admin, ids, findings)
    findings.raise_if_any()
    keys = () if admin.keys_file is None else (admin.keys_file,)
    return Declaration(
        source=source.path,
        admin=admin,
        resources=tuple(ordered),
        files=frozenset({*references.files, *keys}),
    )


def _refuse_twins(resources: list[DeclaredResource], findings: Findings) -> None:
    seen: dict[Any, str] = {}
    for each in resources:
        first = seen.setdefault(each.key, each.name)
        if first != each.name:
            findings.add(
                under(under("resources", each.name), "id"),
                f"must be another id or scope than that of {under('resources', first)}",
                "the same",
            )


def _ids(named: Mapping[str, Any]) -> frozenset[str]:
    """Every id that the file gives, also to a resource that has a mistake of its own."""
    return frozenset(
        str(table.get("id", name)) if isinstance(table, Mapping) else name for name, table in named.items()
    )


def _refuse_strangers(
    named: Mapping[str, Any], resources: list[DeclaredResource], ids: frozenset[str], findings: Findings
) -> None:
    """Note what something needs and nobody declares."""
    needs: dict[str, Sequence[object]] = {each.name: each.resource.dependencies for each in resources}
    for name, table in named.items():
        given = table.get("dependencies") if isinstance(table, Mapping) else None
        for number, id_ in enumerate(needs.get(name, given if isinstance(given, list) else ())):
            if isinstance(id_, str) and id_ not in ids:
                path = under(under(under("resources", name), "dependencies"), number)
                findings.add(path, f"must be the id of a resource of this file{near(id_, ids)}")


def _ordered(resources: list[DeclaredResource], findings: Findings) -> list[DeclaredResource]:
    """Each after what it needs. What is not for its scope, and circles, are noted."""
    graph: DependencyGraph[str] = DependencyGraph()
    by_name = {each.name: each for each in resources}
    for each in resources:
        needs = []
        for number, id_ in enumerate(each.resource.dependencies):
            found = _meant(id_, each, resources)
            theirs = sorted({str(other.scope) for other in resources if other.resource.id == id_})
            if found is not None:
                needs.append(found.name)
            elif theirs:  # else nobody declares it, or it has a mistake of its own
                path = under(under(under("resources", each.name), "dependencies"), number)
                findings.add(path, f"must be there for {each.scope} too: it is for {', '.join(theirs)} alone")
        try:
            graph.add(each.name, needs)
        except CircularDependency as error:
            path = under(under("resources", each.name), "dependencies")
            findings.add(path, f"must not lead back: {' → '.join(error.cycle)}", "a circle")
            graph.add(each.name)
    return [by_name[name] for name in graph.order()]


def _meant(
    id_: str, dependent: DeclaredResource, resources: list[DeclaredResource]
) -> DeclaredResource | None:
    """The resource that a dependency means, as the manager will find it: the deepest whose scope contains its own."""
    candidates = [
        each for each in resources if each.resource.id == id_ and each.scope.contains(dependent.scope)
    ]
    return max(candidates, key=lambda each: (each.scope.level, len(each.scope.fields)), default=None)


def _check_groups(admin: AdminSection, ids: frozenset[str], findings: Findings) -> None:
    for name, members in admin.groups.items():
        for number, member in enumerate(members):
            if member.partition("~")[0] not in ids:
                path = under(under("admin.groups", name), number)
                findings.add(path, f"must be the id of a resource of this file{near(member, ids)}")
