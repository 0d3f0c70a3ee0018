"""Addresses: what the service may call, against the standard library's own opinion."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.addresses import is_public, may_call, parse_address, plain

V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(IPv6Address)
NEAR = st.sampled_from(["::", "fe80::", "fc00::", "2001::", "2002::", "64:ff9b::", "2600::"])
V6_NEAR = st.builds(
    lambda base, host: IPv6Address(int(IPv6Address(base)) + host), NEAR, st.integers(0, 2**64 - 1)
)


def stdlib_says_public(address: IPv4Address | IPv6Address) -> bool:
    """The slow, obvious reference: none of the standard library's words for what is not public."""
    return address.is_global and not (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or getattr(address, "is_site_local", False)
    )


@given(st.one_of(V4, V6, V6_NEAR))
def test_whatever_may_be_called_is_public_to_the_standard_library_too(
    address: IPv4Address | IPv6Address,
) -> None:
    if is_public(address):
        assert stdlib_says_public(plain(address))


@given(V4)
def test_an_ipv4_address_is_judged_alike_in_every_form(address: IPv4Address) -> None:
    mapped = IPv6Address(f"::ffff:{address}")
    translated = IPv6Address(int(IPv6Address("64:ff9b::")) + int(address))
    assert is_public(mapped) == is_public(translated) == is_public(address)


@given(V4)
def test_tunnels_and_compatible_forms_are_never_public(address: IPv4Address) -> None:
    number = int(address)
    six_to_four = IPv6Address((0x2002 << 112) + (number << 80))
    teredo = IPv6Address((0x20010000 << 96) + (number ^ 0xFFFFFFFF))
    compatible = IPv6Address(number)
    local_nat64 = IPv6Address(int(IPv6Address("64:ff9b:1::")) + number)
    assert not any(map(is_public, (six_to_four, teredo, compatible, local_nat64)))


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.1", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.0.9", "169.254.169.254"),
        *("172.16.0.1", "172.31.255.255", "192.168.1.1", "192.0.0.8", "198.18.0.1", "224.0.0.1"),
        *("240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "fe80::1", "fec0::1", "fd00:ec2::254"),
        *("ff02::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "100::1", "5f00::1"),
    ],
)
def test_addresses_of_our_own_networks_are_refused(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_may_be_called(text: str) -> None:
    assert is_public(ip_address(text))


def test_the_operator_can_open_a_network_and_nothing_beside_it() -> None:
    networks = (IPv4Network("10.20.0.0/16"), IPv6Network("fd12::/16"))
    assert may_call(ip_address("10.20.3.4"), networks)
    assert may_call(ip_address("::ffff:10.20.3.4"), networks)
    assert may_call(ip_address("fd12::5"), networks)
    assert not may_call(ip_address("10.21.0.1"), networks)
    assert not may_call(ip_address("127.0.0.1"), networks)


def test_a_zone_does_not_hide_an_address() -> None:
    assert parse_address("fe80::1%eth0") == ip_address("fe80::1")
    assert parse_address("localhost") is None
