"""Requests to URLs that users chose, without being led to where only we can reach (SSRF).

https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import asyncio
import re
import socket
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import SplitResult, urlsplit

from micro.errors import CallError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from ssl import SSLContext

    import httpx

Resolve: TypeAlias = "Callable[[str, int], Awaitable[list[str]]]"

SECONDS = 10.0
"""For connecting, and for each wait of the exchange."""
MAX_DOCUMENT = 256 * 1024
"""Bytes of a document that is fetched."""

_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"https?://[!-\[\]-~]+", re.IGNORECASE)  # ASCII without spaces, controls and the backslash

# https://www.iana.org/assignments/iana-ipv6-special-registry and its sister for IPv4
_UNICAST = ip_network("2000::/3")
_SIX_TO_FOUR = ip_network("2002::/16")
_NAT64 = ip_network("64:ff9b::/96")
_PROTOCOLS = ip_network("192.0.0.0/24")


class ForbiddenTarget(CallError):
    """A URL that must not be requested: malformed, or of a host or address that is not allowed."""


def is_public(address: str) -> bool:
    """Whether an IP address leads out to the internet, and not to a network of our own in whatever clothes."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip in _NAT64 or ip.ipv4_mapped:
            ip = IPv4Address(int(ip) & 0xFFFF_FFFF)
        elif ip not in _UNICAST or ip in _SIX_TO_FOUR:
            return False
    return ip.is_global and not ip.is_multicast and ip not in _PROTOCOLS


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, best first. Raises `OSError`, or `UnicodeError` for what can't be a name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@cache
def authorities() -> SSLContext:
    """Whose certificates are trusted. Reading them takes some 20 ms, so it is done once."""
    import httpx  # noqa: PLC0415 # loaded when first used

    return httpx.create_ssl_context(trust_env=False)


async def fetch(url: str, *, most: int = MAX_DOCUMENT, seconds: float = SECONDS) -> bytes:
    """The document at a URL of the configuration's, which may lie anywhere; of at most `most` bytes, within `seconds`.

    Redirects are not followed, proxies not used, encodings not taken. Raises `CallError` for any answer but a whole 200.
    """
    import httpx  # noqa: PLC0415 # loaded when first used

    headers = {"User-Agent": "micro", "Accept": "application/json", "Accept-Encoding": "identity"}
    body = bytearray()
    try:
        request = httpx.Request(
            "GET", url, headers=headers, extensions={"timeout": httpx.Timeout(seconds).as_dict()}
        )
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncHTTPTransport(verify=authorities(), trust_env=False) as transport,
        ):
            answer = await transport.handle_async_request(request)
            try:
                if answer.status_code != 200 or "content-encoding" in answer.headers:
                    raise CallError(f"{url} answered {answer.status_code}")
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) > most:
                        raise CallError(f"{url} holds more than {most} bytes")
            finally:
                await answer.aclose()
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise CallError(f"{url} gave no answer ({type(error).__name__})") from error
    return bytes(body)


class Outbound:
    """Posts to other people's servers.

    `hosts` says which: names separated by commas, each with a port or without. A host that is named may have any
    address; ``*`` stands for every other host, as long as all its addresses are public. Without ``*`` only those named
    are taken.

    A host is resolved once, and the connection goes to an address that was checked, so that a name that changes its
    address in between (DNS rebinding) gains nothing. Redirects are not followed, proxies not used, bodies not read.
    """

    def __init__(
        self,
        hosts: str = "*",
        *,
        resolve: Resolve = resolve,
        authorities: Callable[[], SSLContext] = authorities,
    ) -> None:
        self._named = {name.strip().lower() for name in hosts.split(",")}
        self._resolve = resolve
        self._authorities = authorities

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer. Raises `ForbiddenTarget`, or `CallError` when there is no answer."""
        target = _Target(url)
        try:
            addresses = await self._resolve(target.host, target.port)
        except UnicodeError as error:
            raise ForbiddenTarget("this is not the name of a host") from error
        except OSError as error:
            raise CallError("the host's name could not be resolved") from error
        self._check(target, addresses)
        return await self._send(
            target, addresses, body, {"User-Agent": "micro", **headers, "Host": target.parts.netloc}
        )

    def _check(self, target: _Target, addresses: list[str]) -> None:
        if target.names & self._named:
            return
        if "*" not in self._named:
            raise ForbiddenTarget("this host is not one of those allowed")
        if not all(map(is_public, addresses)):
            raise ForbiddenTarget("this host has an address that is not public")

    async def _send(
        self, target: _Target, addresses: list[str], body: bytes, headers: Mapping[str, str]
    ) -> int:
        import httpx  # noqa: PLC0415 # loaded when first used

        unreachable: httpx.HTTPError | None = None
        # The transport alone: a client would log the URL, and those of webhooks are secrets.
        async with httpx.AsyncHTTPTransport(verify=self._authorities(), trust_env=False) as transport:
            extensions = {
                "sni_hostname": target.host,  # whom the certificate must be for
                "timeout": httpx.Timeout(SECONDS).as_dict(),
            }
            for address in addresses:
                request = httpx.Request(
                    "POST", target.at(address), headers=headers, content=body, extensions=extensions
                )
                try:
                    answer = await transport.handle_async_request(request)
                except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                    unreachable = error
                except httpx.HTTPError as error:
                    raise CallError(f"the host gave no answer ({type(error).__name__})") from error
                else:
                    await answer.aclose()
                    return answer.status_code
        raise CallError("the host could not be reached") from unreachable


class _Target:
    """A URL, taken apart once: what is checked is what is connected to."""

    def __init__(self, url: str) -> None:
        try:
            self.parts: SplitResult = urlsplit(url)
            self.host = self.parts.hostname or ""
            self.port = self.parts.port or _PORTS[self.parts.scheme]
        except (ValueError, KeyError) as error:
            raise ForbiddenTarget("this is not an http or https URL") from error
        if not _URL.fullmatch(url) or not self.host or "@" in self.parts.netloc:
            raise ForbiddenTarget("this is not a plain http or https URL")
        host = self.host.rstrip(".")
        self.names = {host, f"{host}:{self.port}"}

    def at(self, address: str) -> httpx.URL:
        import httpx  # noqa: PLC0415 # loaded when first used

        path = self.parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        raw_path = (path if path.startswith("/") else f"/{path}").encode()
        return httpx.URL(scheme=self.parts.scheme, host=address, port=self.port, raw_path=raw_path)
