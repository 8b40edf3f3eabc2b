"""A scripted client: it sends the bytes that a test writes, and reads what comes back, byte for byte."""

from __future__ import annotations

import json
import select
import socket
import threading

from rig.end import LIMIT, End, part_of
from rig.message import Ended, chunks, read_status

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Client(End):
    """One connection to the gateway."""

    def __init__(self, address, *, host="", receive_buffer=0):
        """`host`: its own address, where it is to be another than the gateway's."""
        sock = socket.socket()
        if host:
            sock.bind((host, 0))
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        super().__init__(sock)
        sock.connect(address)

    @property
    def address(self):
        """Its own host and port."""
        return self.sock.getsockname()

    def fileno(self):
        return self.sock.fileno()

    def pending(self):
        """What has come and was not read, where it is still open."""
        try:
            return self.source.rest + self.sock.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return self.source.rest

    def head(self):
        """The next head: of an answer, or an interim one."""
        self.source.forget()
        return read_status(self.source)

    def answer(self, *, method=b"GET"):
        """The next final answer with its whole body. `interim` holds those that came before it."""
        interim = []
        while (answer := self.head()).status < 200:
            interim.append(answer)
        answer.interim = interim
        answer.body = b"".join(self.body(answer, method=method))
        answer.wire = self.source.taken
        return answer

    def body(self, answer, *, method=b"GET"):
        """The body of `answer` piece by piece, as its framing says."""
        length = answer.length
        if method == b"HEAD" or answer.status in {204, 304}:
            return
        if length is None:
            yield from chunks(self.source)
            return
        if length < 0:
            assert answer.all(b"connection") == [b"close"], answer.raw
            yield self.source.everything()
            return
        yield from self.sized(length)

    def ask(self, data, *, method=b"GET"):
        self.send(data)
        return self.answer(method=method)

    def breaks_off(self, answer, *, method=b"GET"):
        """Whether the body of `answer` ends before its framing does; what came of it is in `part`."""
        self.part, broken = part_of(self.body(answer, method=method))
        return broken

    def answer_or_break(self, *, method=b"GET"):
        """The next final answer; nothing where the connection ends before it is complete."""
        try:
            return self.answer(method=method)
        except Ended:
            return None

    def nothing(self):
        """Whether nothing has come so far, not even the end."""
        ready, _, _ = select.select([self.sock], [], [], 0)
        return not ready and not self.source.rest

    def goes_on(self):
        """Whether the next request on the connection is answered as if nothing had been."""
        answer = self.ask(HEALTH)
        return answer.status == 200 and json.loads(answer.body)["status"] == "healthy"


class Sending(threading.Thread):
    """Sends what is more than the buffers on the way hold, while the test reads at the other end."""

    def __init__(self, to, data):
        super().__init__(target=to.send, args=(data,), daemon=True)
        self.start()

    def join(self, timeout=LIMIT):
        super().join(timeout)
        assert not self.is_alive(), "not everything was taken"


def problem(answer, status, error="http_request_error"):
    """The body of a refusal, checked: a problem (RFC 9457) with `Proxy-Status` (RFC 9209) that no cache keeps."""
    assert answer.status == status, (answer.raw, answer.body)
    assert answer[b"content-type"] == b"application/problem+json"
    assert answer[b"proxy-status"] == f"micro; error={error}".encode(), answer.raw
    assert answer[b"cache-control"] == b"no-store"
    body = json.loads(answer.body)
    assert body["status"] == status
    assert body["title"]
    assert body["type"]
    assert body["request_id"] == answer[b"x-request-id"].decode()
    assert not any(word in answer.body for word in (b"Traceback", b".py", b"127.0.0.1"))
    return body
