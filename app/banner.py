"""Banner: what the service prints for the person who started it."""

from __future__ import annotations

from pathlib import Path

from app.demo.tenants import TENANTS, token_of

__all__ = ["banner", "curl_lines"]


def curl_lines(url: str) -> tuple[str, str, str]:
    """Three lines for a shell: order something, list one's orders, look at the pools."""
    tenant = TENANTS[0]
    as_tenant = f"-H 'Authorization: Bearer {token_of(tenant)}'"
    body = '-H \'Content-Type: application/json\' -d \'{"item": "anvil", "quantity": 2}\''
    return (
        f"curl -s {url}/demo/orders {as_tenant} {body}",
        f"curl -s '{url}/demo/orders?limit=3' {as_tenant}",
        f"curl -s {url}/pools",
    )


def banner(url: str, data: Path, *, traffic: bool) -> str:
    """The text."""
    lines = (
        f"nebula-resource is running on {url}",
        "",
        f"  open     {url}/               pools and events, live",
        f"           {url}/openapi.json   what the admin API offers",
        f"           {url}/metrics        for Prometheus",
        f"  tenants  {', '.join(TENANTS)}, each with a token and a database of its own",
        f"  data     {data}",
        f"  traffic  {'a few requests a second; TRAFFIC=0 turns it off' if traffic else 'off'}",
        "",
        *(f"  {line}" for line in curl_lines(url)),
        "",
        "Ctrl-C ends it in good order; twice, at once.",
    )
    return "\n".join(lines)
