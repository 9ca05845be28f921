"""Key: one API key as it is kept: its id, the digest of its secret, a role, and perhaps a tenant and an end."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime

from nebula_resource.admin.auth.principal import Principal
from nebula_resource.admin.auth.role import Role
from nebula_resource.errors import ConfigurationError

__all__ = ["Key", "split"]

_TEXT = re.compile(r"nbk_([a-z0-9]{4,32})_([A-Za-z0-9_-]{32,128})")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key; ``digest`` is the SHA-256 of its secret in hex (a secret of 256 random bits needs no slow hash)."""

    id: str
    digest: str = field(repr=False)
    role: Role
    name: str = ""
    """Who uses it; it stands in the audit. By default the id."""
    tenant: str | None = None
    """The one tenant whose registrations exist for it."""
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise ConfigurationError(
                "the digest of a key is 64 hexadecimal digits: the SHA-256 of its secret"
            )
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise ConfigurationError("the end of a key is a time with its zone")

    @classmethod
    def mint(
        cls,
        role: Role | str,
        *,
        name: str = "",
        tenant: str | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[str, Key]:
        """Make a new key: the text, which is shown once, and what is kept of it."""
        id_ = secrets.token_hex(6)
        secret = secrets.token_urlsafe(32)
        kept = cls(
            id=id_,
            digest=digest_of(secret),
            role=Role.parse(role),
            name=name,
            tenant=tenant,
            expires_at=expires_at,
        )
        return f"nbk_{id_}_{secret}", kept

    @property
    def entry(self) -> str:
        """The table that keeps it in a key file."""
        texts = {"digest": self.digest, "role": self.role.label, "name": self.name, "tenant": self.tenant}
        lines = [
            f"[keys.{self.id}]",
            *(f"{name} = {_quoted(text)}" for name, text in texts.items() if text),
            *(() if self.expires_at is None else (f"expires_at = {self.expires_at.isoformat()}",)),
        ]
        return "".join(f"{line}\n" for line in lines)

    @property
    def principal(self) -> Principal:
        """Who asks with it."""
        return Principal(self.name or self.id, self.role, self.tenant)

    def opens_with(self, secret: str) -> bool:
        """Whether this is its secret; the time it takes tells nothing."""
        return hmac.compare_digest(self.digest, digest_of(secret))

    def has_ended(self, now: datetime | None = None) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and (now or datetime.now(UTC)) >= self.expires_at


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _quoted(text: str) -> str:
    """As TOML writes a text: as JSON does, but for DEL, which it wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def split(text: str) -> tuple[str, str] | None:
    """The id and the secret of a key's text; None where it is none."""
    match = _TEXT.fullmatch(text)
    return None if match is None else (match[1], match[2])
