"""Opening connections to instances, with the error types of RFC 9209 for what can go wrong."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import TYPE_CHECKING, TypeVar

from micro.gateway.upstream.ports import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro.gateway.upstream.instance import Instance

    Made = TypeVar("Made", bound=asyncio.Protocol)

_UNROUTABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL})


async def dial(
    instance: Instance,
    protocol: Callable[[], Made],
    *,
    timeout: float,
    context: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> Made:
    """A connection to `instance`: its addresses one after the other, until one takes it; names are looked up each time.

    `context` is for TLS; `server_name` is whom the certificate must be for. Raises `UpstreamError` with the kind that
    says how far it came, after `timeout` seconds at the latest.
    """
    phase = "dns_timeout"
    try:
        async with asyncio.timeout(timeout):
            addresses = await _look_up(instance)
            phase = "connection_timeout"
            return await _connect(addresses, protocol, context=context, server_name=server_name)
    except TimeoutError as error:
        raise UpstreamError(phase, f"{instance.name}: not connected within {timeout:g} s") from error
    except OSError as error:
        raise UpstreamError(kind_of(error), f"{instance.name}: {error}") from error


async def _look_up(instance: Instance) -> list[tuple[str, int]]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(instance.host, instance.port, type=socket.SOCK_STREAM)
    return [(str(address[4][0]), int(address[4][1])) for address in found]


async def _connect(
    addresses: list[tuple[str, int]],
    protocol: Callable[[], Made],
    *,
    context: ssl.SSLContext | None,
    server_name: str | None,
) -> Made:
    loop = asyncio.get_running_loop()
    for host, port in addresses[:-1]:
        try:
            _, made = await loop.create_connection(
                protocol, host, port, ssl=context, server_hostname=server_name
            )
        except OSError:  # the next address may do better; the last one's error is told
            continue
        return made
    host, port = addresses[-1]
    _, made = await loop.create_connection(protocol, host, port, ssl=context, server_hostname=server_name)
    return made


def kind_of(error: OSError) -> str:
    """The error type of RFC 9209 section 2.3 for what connecting raised."""
    if isinstance(error, socket.gaierror):
        return "dns_timeout" if error.errno == socket.EAI_AGAIN else "dns_error"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls_certificate_error"
    if isinstance(error, ssl.SSLError):
        return "tls_alert_received" if "ALERT" in str(error) else "tls_protocol_error"
    if isinstance(error, ConnectionRefusedError):
        return "connection_refused"
    if error.errno in _UNROUTABLE:
        return "destination_ip_unroutable"
    return "connection_terminated"
