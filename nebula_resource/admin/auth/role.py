"""Role: how much a caller may do; each role may do what the lesser ones may."""

from __future__ import annotations

from enum import IntEnum

from nebula_resource.errors import ConfigurationError

__all__ = ["Role"]


class Role(IntEnum):
    """metrics < viewer < operator < admin (SPEC §23)."""

    METRICS = 1
    VIEWER = 2
    OPERATOR = 3
    ADMIN = 4

    @classmethod
    def parse(cls, role: Role | str) -> Role:
        """Return the role for a member or its lower-case name. Raises `ConfigurationError`."""
        if isinstance(role, Role):
            return role
        for member in cls:
            if role == member.label:
                return member
        raise ConfigurationError(f"no such role; the roles are {', '.join(member.label for member in cls)}")

    @property
    def label(self) -> str:
        """Its name as it stands in files and answers."""
        return self.name.lower()
