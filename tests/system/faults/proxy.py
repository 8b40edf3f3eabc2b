"""A link between clients and one TCP server, that can be slow, broken or dead."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading

from serving import StreamServer

from micro.clock import SystemClock
from micro.infra.server import LOOPBACK

_CHUNK = 65_536
_AT_ONCE = struct.pack("ii", 1, 0)
"""A socket that lingers for no time says goodbye with a reset."""


class Proxy:
    """Listens on `port` for as long as it is open, in a thread of its own. What it does is set by its methods."""

    def __init__(self):
        self.target = 0
        """The server's port; it need not be there."""
        self.delay = 0.0
        """Seconds that every piece of data takes, one way."""
        self._clock = SystemClock()
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._links = set()
        self._server = StreamServer(self._serve)
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self._do(self._server.open())
        self.port = self._server.port

    def cut(self):
        """From now on nothing arrives, in neither direction, and nobody is told."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def mend(self):
        """What was on its way arrives after all."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def reset(self):
        """Every connection there is ends with a reset on both sides."""

        async def reset():
            for writer in self._links:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                writer.transport.abort()

        self._do(reset())

    def close(self):
        """Leave nothing."""
        self._do(self._server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _serve(self, reader, writer):
        with self._linked(writer):
            await self._flows.wait()
            theirs, ours = await asyncio.open_connection(LOOPBACK, self.target)
            with self._linked(ours):
                await asyncio.gather(self._carry(reader, ours), self._carry(theirs, writer))

    @contextlib.contextmanager
    def _linked(self, writer):
        self._links.add(writer)
        try:
            yield
        finally:
            self._links.discard(writer)
            writer.transport.abort()

    async def _carry(self, reader, writer):
        try:
            while data := await reader.read(_CHUNK):
                if self.delay:
                    await self._clock.sleep(self.delay)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
