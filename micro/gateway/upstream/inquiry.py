"""One question to one instance: what health checks ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from micro.gateway.upstream.answer import AnswerReader
from micro.gateway.upstream.pool import authority
from micro.gateway.upstream.ports import UpstreamError
from micro.web.health import PATHS

if TYPE_CHECKING:
    from micro.gateway.upstream.pool import Pool


async def inquire(pool: Pool, path: str) -> int:
    """The status of `GET path` at the pool's instance, over a connection of its own: so it is seen that it takes new
    ones. Raises `UpstreamError`."""
    instance = pool.instance
    request = b"GET %b%b HTTP/1.1\r\nhost: %b\r\n%buser-agent: micro\r\nconnection: close\r\n\r\n"
    proof = b""
    if pool.proof is not None and path not in PATHS:  # which are answered to anybody
        proof = b"%b: %b\r\n" % pool.proof.field(pool.monotonic())
    inquiry = await pool.open(Inquiry)
    try:
        inquiry.transport.write(request % (instance.base, path.encode("ascii"), authority(instance), proof))
        return await inquiry.status
    finally:
        inquiry.transport.abort()


class Inquiry(asyncio.Protocol):
    """Waits for the head of one answer."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reader = AnswerReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol.connection_made`."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        reader = self._reader
        try:
            reader.feed(data)
        except UpstreamError as error:
            self._settle(error)
        if reader.status and not self.status.done():
            self.status.set_result(reader.status)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol.connection_lost`."""
        self._settle(UpstreamError("connection_terminated", "the connection was closed without an answer"))

    def _settle(self, error: UpstreamError) -> None:
        if not self.status.done():
            self.status.set_exception(error)
            self.status.exception()  # whoever asked may be gone
