"""An ASGI app that is the scripted origin of a WebSocket: messages become frames on a connection to it, and the reverse."""

from __future__ import annotations

import asyncio

from rig.frames import BINARY, CLOSE, HANDSHAKE, TEXT, close, frame, read_frame, said
from rig.written import get


class Frames:
    """Reads frames off a stream as `read_frame` does off a socket: enough is gathered first."""

    def __init__(self, reader):
        self._reader = reader
        self._data = b""

    def take(self, count):
        if len(self._data) < count:
            raise BlockingIOError
        found, self._data = self._data[:count], self._data[count:]
        return found

    async def next(self):
        while True:
            kept = self._data
            try:
                return read_frame(self, mask=False)
            except BlockingIOError:
                more = await self._reader.read(65536)
                if not more:
                    raise ConnectionError("the origin is gone") from None
                self._data = kept + more


async def serve(scope, receive, send, address):
    """One WebSocket, from handshake to close."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        assert (await receive())["type"] == "websocket.connect"
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        kept = [b"%s: %s" % pair for pair in scope["headers"] if not pair[0].startswith(b"sec-websocket")]
        offered = ", ".join(scope["subprotocols"]).encode()
        kept += [b"sec-websocket-protocol: " + offered] if offered else []
        writer.write(get(scope["raw_path"] + query, *HANDSHAKE, *kept, host=b""))
        if not await _handshake(reader, send):
            return
        frames = Frames(reader)
        up = asyncio.create_task(_up(receive, writer))
        down = asyncio.create_task(_down(frames, send))
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        for task in (up, down):
            task.cancel()
        for outcome in await asyncio.gather(up, down, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
    finally:
        writer.close()


async def _handshake(reader, send):
    line, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (each.partition(b":") for each in lines)]
    status = int(line.split(b" ")[1])
    if status != 101:
        length = int(dict(fields).get(b"content-length", b"0"))
        body = await reader.readexactly(length)
        await send({"type": "websocket.http.response.start", "status": status, "headers": fields})
        await send({"type": "websocket.http.response.body", "body": body})
        return False
    hidden = {b"connection", b"upgrade", b"sec-websocket-accept", b"sec-websocket-protocol"}
    chosen = dict(fields).get(b"sec-websocket-protocol")
    headers = [pair for pair in fields if pair[0] not in hidden]
    await send({"type": "websocket.accept", "subprotocol": chosen and chosen.decode(), "headers": headers})
    return True


async def _up(receive, writer):
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            code = message.get("code", 1005)
            reason = (message.get("reason") or "").encode()
            writer.write(close(code if code not in {1005, 1006} else 1001, reason, mask=True))
            return
        text = message.get("text")
        opcode, data = (BINARY, message["bytes"]) if text is None else (TEXT, text.encode())
        writer.write(frame(opcode, data, mask=True))
        await writer.drain()


async def _down(frames, send):
    while True:
        opcode, data, _ = await frames.next()
        if opcode == CLOSE:
            code, reason = said(data) if data else (1000, b"")
            await send({"type": "websocket.close", "code": code, "reason": reason.decode()})
            return
        if opcode == TEXT:
            await send({"type": "websocket.send", "text": data.decode()})
        elif opcode == BINARY:
            await send({"type": "websocket.send", "bytes": data})
