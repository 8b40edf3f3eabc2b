"""Who a client is, behind proxies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.errors import ConfigurationError
from micro.security.peers import MAX_HOPS, TrustedPeers, plain, rate_key

PROXIES = TrustedPeers(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])


def test_by_default_nobody_is_trusted():
    """Not even loopback."""
    nobody = TrustedPeers()
    assert not nobody.trusts("127.0.0.1")
    assert nobody.client_ip("127.0.0.1", "203.0.113.9") == "127.0.0.1"


@pytest.mark.parametrize("address", ["10.1.2.3", "192.0.2.1", "2001:db8::5", "::ffff:10.1.2.3"])
def test_addresses_in_the_networks_are_trusted(address):
    """IPv4-mapped IPv6 counts as IPv4."""
    assert PROXIES.trusts(address)


@pytest.mark.parametrize(
    "address", ["11.0.0.1", "192.0.2.2", "2001:db9::1", "", "unknown", "10.0.0.0/8", "unix:"]
)
def test_others_are_not(address):
    """Nor what is no address."""
    assert not PROXIES.trusts(address)


@pytest.mark.parametrize("network", ["", "10.0.0.1/8", "10.0.0.0/33", "proxy.example", "*"])
def test_a_malformed_network_is_refused(network):
    """At start, naming it."""
    with pytest.raises(ConfigurationError, match="not an address or a network"):
        TrustedPeers([network])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1,198.51.100.1 ,10.0.0.2,192.0.2.1", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.1:1234", "198.51.100.1"),
        ("10.0.0.1", "[2001:DB9::1]:443", "2001:db9::1"),
        ("10.0.0.1", "[2001:db9::1]", "2001:db9::1"),
        ("10.0.0.1", "2001:db9:0:0::1", "2001:db9::1"),
        ("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, garbage", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "1.1.1.1, _hidden", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", ",", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1,", "10.0.0.1"),
        ("10.0.0.1", "010.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "1.1.1", "10.0.0.1"),
        ("unix:", "1.1.1.1", "unix:"),
    ],
)
def test_the_client_is_the_first_untrusted_address_from_the_right(peer, forwarded, client):
    """What stands left of it is the client's own word."""
    assert PROXIES.client_ip(peer, forwarded) == client


def test_a_client_cannot_make_the_walk_long():
    """At most 32 hops are read."""
    assert PROXIES.client_ip("10.0.0.1", "1.1.1.1," + "10.0.0.2," * 10_000 + "10.0.0.9") == "10.0.0.2"
    assert PROXIES.client_ip("10.0.0.1", "1.1.1.1," + ",".join(["10.0.0.2"] * (MAX_HOPS - 1))) == "1.1.1.1"


@given(st.lists(st.ip_addresses().map(str), max_size=5))
def test_whatever_a_client_puts_in_front_changes_nothing(invented):
    """The rate limit's key is not the attacker's input."""
    genuine = "198.51.100.7, 10.0.0.2"
    spoofed = ", ".join([*invented, genuine])
    assert PROXIES.client_ip("10.0.0.1", spoofed) == "198.51.100.7"


@given(st.text(max_size=60))
def test_no_header_makes_an_exception(text):
    """And the answer is an address, or the peer."""
    assert PROXIES.client_ip("10.0.0.1", text)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:0DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("unix:", "unix:"),
        ("testclient", "testclient"),
    ],
)
def test_an_address_has_one_spelling(address, expected):
    """So one client has one key."""
    assert plain(address) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::/64"),
        ("unix:", "unix:"),
    ],
)
def test_ipv6_is_counted_by_its_64(address, expected):
    """Or one host has 2⁶⁴ limits."""
    assert rate_key(address) == expected
