"""Addresses: which IP addresses a request may reach, by an explicit table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["AddressPolicy", "IPAddress", "IPNetwork"]

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

# From IANA's registries of special-purpose addresses, by hand: `ip_address().is_global` changes with the version of
# Python, and 3.11 calls multicast, NAT64 of loopback and the clouds' own services global.
PRIVATE: tuple[IPNetwork, ...] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),  # carriers' and overlay networks
    IPv4Network("127.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv6Network("::1/128"),
    IPv6Network("fc00::/7"),
)
"""Networks of one's own: ``allow_private`` opens them."""
METADATA: tuple[IPNetwork, ...] = (
    IPv4Network("100.100.100.200/32"),  # Alibaba Cloud
    IPv4Network("168.63.129.16/32"),  # Azure
    IPv6Network("fd00:ec2::/32"),  # AWS
    IPv6Network("fd20:ce::/32"),  # Google Cloud
)
"""Clouds hand out credentials there (and at 169.254.169.254, below); ``allow_private`` does not open them."""
NEVER_V4: tuple[IPv4Network, ...] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.0.2.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("198.18.0.0/15"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    IPv4Network("224.0.0.0/4"),
    IPv4Network("240.0.0.0/4"),
)
GLOBAL_V6 = IPv6Network("2000::/3")
"""All that is assigned to the public; everything outside is refused."""
NEVER_V6: tuple[IPv6Network, ...] = (
    IPv6Network("2001::/23"),  # protocol assignments, among them Teredo, which embeds an IPv4 address
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),  # 6to4 embeds one too
    IPv6Network("3fff::/20"),
)
NAT64 = IPv6Network("64:ff9b::/96")
"""How a network with IPv6 alone writes IPv4 addresses (RFC 6052): the embedded one is judged."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Which addresses may be connected to; ``allowed`` wins over everything."""

    allow_private: bool = False
    allowed: tuple[IPNetwork, ...] = ()

    def allows(self, address: IPAddress) -> bool:
        """Say whether this address may be connected to."""
        plain = _plain(address)
        if _within(plain, self.allowed) or _within(address, self.allowed):
            return True
        if _within(plain, METADATA):
            return False
        if _within(plain, PRIVATE):
            return self.allow_private
        if isinstance(plain, IPv4Address):
            return not _within(plain, NEVER_V4)
        return plain in GLOBAL_V6 and not _within(plain, NEVER_V6)

    def allows_all(self, texts: Sequence[str]) -> bool:
        """Say whether there is an address, and every one of a resolver's answers may be connected to.

        One bad address among good ones refuses the name: which one is used would be up to whoever answers.
        """
        return bool(texts) and all(self.allows(ip_address(text.partition("%")[0])) for text in texts)


def _plain(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that an IPv6 one stands for, where a connection would go to it."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _within(address: IPAddress, networks: Sequence[IPNetwork]) -> bool:
    return any(address in network for network in networks)
