"""An open-loop HTTP/1.1 load: so many requests a second, whether or not those before were answered."""

import asyncio
import contextlib
import statistics
import time
from dataclasses import dataclass, field

PATIENCE = 15.0
CONNECTIONS = 8


@dataclass
class Seen:
    """What the clients saw."""

    statuses: dict[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    again: int = 0
    """Requests that were sent a second time, as the connection ended without an answer."""

    @property
    def failed(self) -> dict[str, int]:
        """Whatever was no success."""
        return {status: count for status, count in self.statuses.items() if not status.startswith("2")}

    def line(self) -> str:
        """How many, how many failed, how long they took."""
        ordered = sorted(self.seconds)
        p99 = ordered[int(len(ordered) * 0.99)]
        said = f"{len(ordered)} requests, {sum(self.failed.values())} failed {self.failed or ''}".rstrip()
        again = f", {self.again} sent again on a new connection" if self.again else ""
        return f"{said}{again}; median {statistics.median(ordered) * 1000:.1f} ms, p99 {p99 * 1000:.0f} ms, max {ordered[-1] * 1000:.0f} ms"


class OpenLoop:
    """Sends the requests in turn, `rate` a second, over connections that are kept and used in turn, more where needed."""

    def __init__(self, url: str, requests: list[bytes], *, rate: float, resend: bool = False) -> None:
        """`resend`: send a request once more where its connection ends without an answer, as browsers do."""
        self._host, port = url.removeprefix("http://").split(":")
        self._port = int(port)
        self._requests, self._rate, self._resend = requests, rate, resend
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.seen = Seen()

    async def during(self, work) -> Seen:
        """Send until `work` is done, and a second before and after."""
        over = asyncio.Event()
        self._idle = [await asyncio.open_connection(self._host, self._port) for _ in range(CONNECTIONS)]
        sending = asyncio.create_task(self._send(over))
        await asyncio.sleep(1)
        try:
            await work
            await asyncio.sleep(1)
        finally:
            over.set()
            await sending
        for _, writer in self._idle:
            writer.close()
        return self.seen

    async def _send(self, over: asyncio.Event) -> None:
        started, number, works = time.perf_counter(), 0, set()
        while not over.is_set():
            work = asyncio.create_task(self._one(self._requests[number % len(self._requests)]))
            works.add(work)
            work.add_done_callback(works.discard)
            number += 1
            await asyncio.sleep(max(0.0, started + number / self._rate - time.perf_counter()))
        await asyncio.gather(*works)

    async def _one(self, request: bytes) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                status = await self._exchange(request)
        except TimeoutError:
            status = "no answer"
        except (OSError, EOFError) as error:
            status = type(error).__name__
        self.seen.seconds.append(time.perf_counter() - began)
        self.seen.statuses[status] = self.seen.statuses.get(status, 0) + 1

    async def _exchange(self, request: bytes) -> str:
        try:
            return await self._ask(request, self._idle.pop(0) if self._idle else None)
        except (OSError, EOFError):
            if not self._resend:
                raise
            self.seen.again += 1
            return await self._ask(request, None)

    async def _ask(self, request: bytes, connection) -> str:
        reader, writer = connection or await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            await reader.readexactly(length)
        except BaseException:
            with contextlib.suppress(OSError):
                writer.close()
            raise
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return head[9:12].decode()
