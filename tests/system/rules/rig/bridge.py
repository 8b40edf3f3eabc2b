"""An ASGI app that is the scripted origin: it writes what it is called with on a connection, and answers what comes back.

So the same script tells what an app in this process is given, and what an instance on the network. It changes nothing:
fields go out in the order and spelling in which the app got them, and a body as its pieces come.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from rig import socket_bridge


class Broken(Exception):
    """The script broke its answer off: so does the app."""


class Bridge:
    """One connection to the origin for each request."""

    def __init__(self, address):
        self._address = address

    async def __call__(self, scope, receive, send):
        if scope["type"] == "websocket":
            await socket_bridge.serve(scope, receive, send, self._address)
            return
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            up = asyncio.create_task(_ask(scope, receive, writer))
            down = asyncio.create_task(_answer(scope, reader, send))
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            if not down.done():
                await asyncio.wait({up, down})
            for task in (down, up):
                if not task.done():
                    task.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await up
            await down
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            writer.transport.abort()


async def _ask(scope, receive, writer):
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    line = b"%s %s%s HTTP/1.1\r\n" % (scope["method"].encode(), scope["raw_path"], query)
    fields = b"".join(b"%s: %s\r\n" % pair for pair in scope["headers"])
    announced = any(name == b"content-length" for name, _ in scope["headers"])
    if announced:
        writer.write(line + fields + b"\r\n")
    message = await receive()
    in_chunks = not announced and (message.get("body") or message.get("more_body"))
    if not announced and message["type"] == "http.request":
        writer.write(line + fields + (b"Transfer-Encoding: chunked\r\n\r\n" if in_chunks else b"\r\n"))
    while message["type"] == "http.request":
        data = message.get("body", b"")
        if data:
            writer.write(b"%x\r\n%s\r\n" % (len(data), data) if in_chunks else data)
        if not message.get("more_body") and in_chunks:
            in_chunks = False
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        message = await receive()
    writer.transport.abort()  # the client is gone


async def _answer(scope, reader, send):
    status, fields = await _head(reader)
    while status < 200:
        status, fields = await _head(reader)
    found = {name.lower(): value for name, value in fields}
    await send({"type": "http.response.start", "status": status, "headers": fields})
    if scope["method"] != "HEAD" and status not in {204, 304}:
        async for data in _body(reader, found):
            await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _head(reader):
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Broken("no answer") from error
    line, *lines = raw[:-4].split(b"\r\n")
    return int(line.split(b" ")[1]), [_pair(each) for each in lines]


def _pair(line):
    name, _, value = line.partition(b":")
    return name, value.strip(b" \t")


async def _body(reader, found):
    if b"transfer-encoding" in found:
        while size := int(await _exactly(reader.readline()), 16):
            yield await _exactly(reader.readexactly(size))
            await _exactly(reader.readexactly(2))
        await _exactly(reader.readexactly(2))
        return
    left = int(found[b"content-length"]) if b"content-length" in found else None
    while left is None or left:
        data = await reader.read(65536 if left is None else min(left, 65536))
        if not data and left is None:
            return
        if not data:
            raise Broken("the answer broke off")
        left = left and left - len(data)
        yield data


async def _exactly(reading):
    try:
        data = await reading
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Broken("the answer broke off") from error
    if not data:
        raise Broken("the answer broke off")
    return data
