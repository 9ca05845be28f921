"""HttpConfig: which service, how long to wait for it, and where requests may go."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
from pydantic import Field, field_validator, model_validator

from nebula_resource.drivers.http.addresses import IPNetwork
from nebula_resource.model.config import NotSecret, ResourceConfig, Secret
from nebula_resource.model.secret_names import is_secret_name

__all__ = ["HttpConfig", "LoginInUrl"]


class LoginInUrl(UserWarning):
    """A URL holds a user or a password; it was taken out of it."""


class HttpConfig(ResourceConfig):
    """Where a service is, how to log in, and how far requests may reach; times are seconds."""

    base_url: str
    """``https://host[:port][/path]``; relative URLs of requests are joined to it."""
    user: Secret | None = None
    password: Secret | None = None
    user_credential_key: Annotated[str | None, NotSecret("the name under which the provider has it")] = None
    credential_key: Annotated[str | None, NotSecret("the name under which the provider has it")] = None
    """The password, or with ``auth="bearer"`` the token: its name at the context's CredentialProvider."""
    auth: Literal["basic", "bearer"] = "basic"
    headers: Mapping[str, str | Secret] = Field(default_factory=dict)
    """Sent with every request; secret ones (``Authorization``, ``X-Api-Key``) become Secrets, and go, as the login
    does, to the origin of ``base_url`` alone, whatever URL a caller or a redirect names."""

    connect_timeout: float = Field(default=5.0, gt=0, le=3600)
    read_timeout: float = Field(default=30.0, gt=0, le=3600)
    write_timeout: float = Field(default=30.0, gt=0, le=3600)
    pool_timeout: float = Field(default=5.0, gt=0, le=3600)
    """How long a request waits for one of the connections."""
    max_connections: int = Field(default=100, ge=1)
    max_keepalive_connections: int = Field(default=20, ge=0)
    keepalive_expiry: float = Field(default=5.0, gt=0)

    verify: bool = True
    ca_file: Path | None = None
    """Authorities to trust instead of the public ones (PEM)."""
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    client_key_password: Secret | None = None
    proxy: Secret | None = None
    """``http://[user:password@]host:port`` of a proxy. It resolves names itself, so ``allowed_hosts`` is needed."""

    health_path: str = "/health"
    follow_redirects: bool = False
    max_redirects: int = Field(default=5, ge=0, le=20)

    allow_private: bool = False
    """Whether requests may reach private networks and this machine; services of the clouds' metadata stay closed."""
    allowed_networks: tuple[IPNetwork, ...] = ()
    """Networks that requests may reach whatever the table says."""
    allowed_hosts: tuple[str, ...] | None = None
    """Names that requests may go to beside that of ``base_url``: exact ones, or ``.example.com`` for all below it;
    None: every name, () none."""
    allowed_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (80, 443)
    """Ports that requests may go to beside that of ``base_url``."""

    @field_validator("headers", mode="after")
    @classmethod
    def _hide_secret_headers(cls, headers: Mapping[str, str | Secret]) -> Mapping[str, str | Secret]:
        return {
            name: Secret(value) if isinstance(value, str) and is_secret_name(name) else value
            for name, value in headers.items()
        }

    @model_validator(mode="before")
    @classmethod
    def _take_out_login(cls, values: Any) -> Any:
        """Move user and password of the URL into their own fields, unless those are given too (checked later)."""
        if not isinstance(values, Mapping) or values.get("user") or values.get("password"):
            return values
        url = parse_url(values.get("base_url"))
        if url is None or not url.userinfo:
            return values
        warnings.warn(
            "base_url holds a user or a password; give them as `user` and `password`, or by the name under which a"
            " credential provider has them",
            LoginInUrl,
            stacklevel=3,
        )
        return {
            **values,
            "base_url": str(url.copy_with(username=None, password=None)),
            "user": Secret(url.username) if url.username else None,
            "password": Secret(url.password) if url.password else None,
        }

    @property
    def credential_keys(self) -> tuple[str, ...]:
        """The names this configuration asks a credential provider for."""
        return tuple(key for key in (self.user_credential_key, self.credential_key) if key is not None)


def parse_url(text: object) -> httpx.URL | None:
    """Return the URL, None for what is none; httpx's own error quotes it."""
    try:
        return httpx.URL(text) if isinstance(text, str) else None
    except (httpx.InvalidURL, ValueError, TypeError):
        return None
