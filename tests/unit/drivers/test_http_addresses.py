"""AddressPolicy: the table against which every address of a request is held."""

import socket
from ipaddress import ip_address, ip_network

import pytest

from nebula_resource.drivers.http.addresses import AddressPolicy

PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
OWN = [
    "10.1.2.3",
    "127.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
]
CLOUDS = [
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "fd00:ec2::254",
    "fd20:ce::254",
    "64:ff9b::a9fe:a9fe",
]
NOWHERE = [
    "0.0.0.0",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::127.0.0.1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "64:ff9b:1::1",
    "5f00::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address: str) -> None:
    """Addresses of the public internet pass, also as NAT64 and mapped ones."""
    assert AddressPolicy().allows(ip_address(address))


@pytest.mark.parametrize("address", [*OWN, *CLOUDS, *NOWHERE])
def test_all_others_may_not(address: str) -> None:
    """Private, loopback, metadata, embedded, reserved and group addresses are refused."""
    assert not AddressPolicy().allows(ip_address(address))


@pytest.mark.parametrize("address", OWN)
def test_private_ones_can_be_opened(address: str) -> None:
    """allow_private opens one's own networks and this machine."""
    assert AddressPolicy(allow_private=True).allows(ip_address(address))


@pytest.mark.parametrize("address", [*CLOUDS, *NOWHERE])
def test_opening_private_ones_opens_nothing_else(address: str) -> None:
    """The clouds' metadata services and what is no destination stay closed."""
    assert not AddressPolicy(allow_private=True).allows(ip_address(address))


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "10.0.0.1"])
def test_a_named_network_wins(address: str) -> None:
    """What is named is allowed whatever the table says, in either way of writing it."""
    policy = AddressPolicy(allowed=(ip_network("169.254.169.254/32"), ip_network("10.0.0.0/30")))
    assert policy.allows(ip_address(address))
    assert not policy.allows(ip_address("10.0.0.4"))


def test_one_bad_answer_refuses_the_name() -> None:
    """A name with good and bad addresses is refused, and so is one with none; a scope id changes nothing."""
    policy = AddressPolicy()
    assert policy.allows_all(["8.8.8.8", "2606:4700:4700::1111"])
    assert not policy.allows_all(["8.8.8.8", "127.0.0.1"])
    assert not policy.allows_all([])
    assert not policy.allows_all(["fe80::1%eth0"])


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "017700000001", "１２７.0.0.1"]
)
def test_the_address_is_judged_not_its_writing(host: str) -> None:
    """However the system lets one write this machine's address, it is this machine's address that is judged."""
    found = {str(address[0]) for *_, address in socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)}
    assert not AddressPolicy().allows_all(sorted(found))
