"""AdminSettings: what an operator decides of an admin application, validated all at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast, final

from nebula_resource.admin.sse import MAX_STREAMS
from nebula_resource.metrics.tenants import MAX_TENANTS
from nebula_resource.model.policy import Rules

__all__ = ["AdminSettings"]

_NAME = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """Settings of `create_admin`; a mapping with these names does as well. Lists may be of any kind.

    Raises:
        ValidationFailed: with every rule that is broken.
    """

    hosts: tuple[str, ...] = ()
    """Names, beside localhost, 127.0.0.1 and [::1], that a Host header may have; without scheme and port."""
    page: bool = True
    """Whether the live page is served at ``/``."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Resource ids and public ids by the name under which ``/health/groups/{name}`` tells of them together."""
    tenant_metrics: tuple[str, ...] = ()
    """At most 50 tenants that ``/metrics`` tells of by name, all others as ``_other``; none: no tenant is a label."""
    max_streams: int = MAX_STREAMS
    """How many readers ``/events`` has at once; the next is told 429."""
    audit_file: Path | None = None
    """Where what people do is written, a line of JSON before and one after; where that cannot be written, nothing is
    done. A regular file on a disk of this machine: everybody waits while a line is put on it. None: log, events and
    ``/audit`` alone tell of it."""

    def __post_init__(self) -> None:
        rules = Rules()
        set_ = object.__setattr__  # the lists are copied: nobody changes them afterwards
        hosts, tenants = cast("object", self.hosts), cast("object", self.tenant_metrics)
        set_(self, "hosts", _texts(rules, "hosts", hosts))
        for each in self.hosts:
            if not _NAME.fullmatch(each):
                rules.breach("hosts", "must be names without scheme and port", each)
        rules.flag("page", self.page)
        groups = cast("object", self.groups)
        if not isinstance(groups, Mapping):
            rules.breach("groups", "must be lists of ids by the name of their group", groups)
        else:
            set_(
                self,
                "groups",
                {str(name): _texts(rules, f"groups.{name}", held) for name, held in groups.items()},
            )
        set_(self, "tenant_metrics", _texts(rules, "tenant_metrics", tenants))
        if len(self.tenant_metrics) > MAX_TENANTS:
            rules.breach("tenant_metrics", f"must be at most {MAX_TENANTS} tenants", len(self.tenant_metrics))
        rules.count("max_streams", self.max_streams, least=1)
        file = cast("object", self.audit_file)
        if isinstance(file, str):
            set_(self, "audit_file", Path(file))
        elif file is not None and not isinstance(file, Path):
            rules.breach("audit_file", "must be the path of a file", file)
        rules.raise_if_broken()

    @classmethod
    def of(cls, given: AdminSettings | Mapping[str, Any] | None) -> AdminSettings:
        """The settings themselves, those that a mapping names, or the defaults. Raises `ValidationFailed`."""
        if given is None:
            return cls()
        if isinstance(given, cls):
            return given
        rules = Rules()
        known = sorted(each.name for each in fields(cls))
        held = cast("object", given)  # without a type checker anything may arrive here
        if not isinstance(held, Mapping):
            rules.breach("settings", "must be AdminSettings, or a mapping with their names", held)
        else:
            for name in held:
                if name not in known:
                    rules.breach(str(name), f"is no setting; there are {', '.join(known)}", held[name])
        rules.raise_if_broken()
        return cls(**cast("Mapping[str, Any]", held))


def _texts(rules: Rules, name: str, given: object) -> tuple[str, ...]:
    """The texts of a list. A single text is none, although Python would take its letters for one."""
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping):
        held = tuple(given)
        if all(isinstance(each, str) for each in held):
            return held
    rules.breach(name, "must be a list of texts", given)
    return ()
