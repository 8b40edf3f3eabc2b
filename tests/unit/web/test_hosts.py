"""Which Host values are answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.web.hosts import Hosts

DEFAULT = Hosts(bound="192.0.2.7")


def refusal(*hosts: bytes, of: Hosts = DEFAULT):
    return of.refusal([(b"accept", b"*/*"), *((b"host", host) for host in hosts)])


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LOCALHOST:8000",
        b"localhost.",
        b"127.0.0.1",
        b"127.0.0.1:8000",
        b"127.0.0.1:",
        b"[::1]",
        b"[::1]:8000",
        b"[0:0:0:0:0:0:0:1]:8000",
        b"192.0.2.7:8000",
    ],
)
def test_loopback_names_and_the_bound_address_are_answered(host):
    """With any port, in any case."""
    assert refusal(host) is None
    assert refusal(host) is None, "the second time, from memory"


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"localhost.evil.example", b"127.0.0.2", b"192.0.2.8", b"[::2]", b"127.0.0.1.nip.io"],
)
def test_other_names_are_refused(host):
    """A page that rebinds its name to this machine sends its own name."""
    assert "not answered here" in refusal(host)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b" ",
        b":8000",
        b"local host",
        b"localhost:x",
        b"localhost:99999",
        b"localhost:123456",
        b"localhost:80:80",
        b"user@localhost",
        b"localhost/",
        b"http://localhost",
        b"localhost,evil",
        b"[::1",
        b"::1",
        b"[::1]x",
        b"[localhost]",
        b"localhost\x00",
        b"localhost\n",
        b"l\xf6calhost",
        b"localhost?",
    ],
)
def test_malformed_values_are_refused(host):
    """RFC 9112 section 3.2: an invalid field value is 400."""
    assert refusal(host) is not None


def test_a_missing_host_is_refused():
    """RFC 9112 section 3.2."""
    assert refusal() == "Host is missing."


def test_a_repeated_host_is_refused():
    """Even twice the same."""
    assert refusal(b"localhost", b"localhost") == "Host was sent more than once."


def test_configured_names_replace_the_default():
    """Loopback has to be named then."""
    hosts = Hosts(["shop.example", "2001:db8::1"])
    assert refusal(b"Shop.Example:443", of=hosts) is None
    assert refusal(b"[2001:DB8:0::1]", of=hosts) is None
    assert refusal(b"localhost", of=hosts) is not None


def test_a_leading_star_stands_for_any_name_below():
    """Not for the name itself."""
    hosts = Hosts(["*.shop.example"])
    assert refusal(b"a.shop.example", of=hosts) is None
    assert refusal(b"a.b.SHOP.example:1", of=hosts) is None
    assert refusal(b"shop.example", of=hosts) is not None
    assert refusal(b"evilshop.example", of=hosts) is not None


def test_a_star_stands_for_any_name():
    """But a malformed one is still malformed."""
    hosts = Hosts(["*"])
    assert refusal(b"whatever.example", of=hosts) is None
    assert refusal(b"a b", of=hosts) is not None
    assert refusal(of=hosts) is not None


def test_the_memory_of_accepted_values_is_bounded():
    """A client that invents values can't fill it."""
    hosts = Hosts(["*"])
    for number in range(1_000):
        assert refusal(b"a%d.example" % number, of=hosts) is None
    assert len(hosts._known) <= 256


@given(st.binary(max_size=30))
def test_no_bytes_make_an_exception(host):
    """Only known names pass."""
    if refusal(host) is None:
        assert host.lower().startswith((b"localhost", b"127.0.0.1", b"192.0.2.7", b"["))
