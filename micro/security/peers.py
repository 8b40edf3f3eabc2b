"""Who a client is, behind proxies: only what trusted peers say counts, read from the right.

`X-Forwarded-For` "cannot be relied upon to be correct, as it may be modified … by every node on the way to the server,
including the client" (https://www.rfc-editor.org/rfc/rfc7239#section-8.1, of its successor).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

from micro.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

Address: TypeAlias = IPv4Address | IPv6Address

MAX_HOPS = 32


class TrustedPeers:
    """The networks whose forwarding headers are believed; none of them means nobody, not even loopback.

    `networks` are addresses or CIDR networks. Raises `ConfigurationError` for anything else.
    """

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks = tuple(_network(text) for text in networks)

    def trusts(self, address: str) -> bool:
        """Whether `address` lies in one of the networks. IPv4-mapped IPv6 counts as IPv4; malformed is never trusted."""
        if not self._networks:
            return False
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client_ip(self, peer: str, forwarded_for: str | None) -> str:
        """The client's address: the first one from the right, peer included, that is not trusted.

        `forwarded_for` is the field's value, several lines joined by commas in order. A malformed hop ends the walk at
        the hop that reported it; where all are trusted, it is the leftmost. At most 32 hops are read.
        """
        client = plain(peer)
        if forwarded_for is None or not self.trusts(client):
            return client
        for hop in reversed(forwarded_for.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
            parsed = _parse(_without_port(hop.strip()))
            if parsed is None:
                return client
            client = str(parsed)
            if not self.trusts(client):
                return client
        return client


def plain(address: str) -> str:
    """One spelling per address: IPv4-mapped IPv6 as IPv4, IPv6 compressed; what is no address stays as it is."""
    if ":" not in address:
        return address
    parsed = _parse(address)
    return address if parsed is None else str(parsed)


def rate_key(address: str) -> str:
    """What to count a client's requests under: an IPv4 address itself, of an IPv6 address its /64.

    One host commonly has a whole /64, that is 2⁶⁴ addresses.
    """
    return address if ":" not in address else _rate_key6(address)


@lru_cache(maxsize=4096)
def _rate_key6(address: str) -> str:
    parsed = _parse(address)
    if not isinstance(parsed, IPv6Address):
        return address if parsed is None else str(parsed)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"


@lru_cache(maxsize=4096)
def _parse(text: str) -> Address | None:
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _without_port(hop: str) -> str:
    """The address of ``192.0.2.1:80``, ``[2001:db8::1]:80`` or ``[2001:db8::1]``."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is not an address or a network: {error}") from error
