"""`call()` between the services of a stack: to the app itself where that is in this process, over the network otherwise."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context as Variables
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from micro.context import Context, current
from micro.errors import CallError
from micro.gateway.paths import decoded
from micro.gateway.upstream.ports import UpstreamError
from micro.ids import child_traceparent, new_id
from micro.service import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from micro.clock import Clock
    from micro.gateway.headers import Pair
    from micro.gateway.upstream.local import LocalUpstream
    from micro.gateway.upstream.network import NetworkUpstream
    from micro.gateway.upstream.ports import Message
    from micro.service import Call

logger = logging.getLogger("micro.gateway.calls")

MAX_ANSWER = 10 * 1024 * 1024
"""Bytes of body that an answer may have."""
TOKEN_REUSED = 30.0
"""Seconds for which a service's token is used again, so that the other side finds it among the verified ones."""
_CANCELLATION = 5.0
"""Seconds that the work of an answer has to end when it is cancelled."""

_SAFE = "%/:?#[]@!$&'()*+,;=-._~"
"""What a path may hold as it is; the rest is percent-encoded."""
_OWN = frozenset({b"content-length", b"host", b"traceparent", b"x-correlation-id", b"x-request-id"})


class LocalCaller:
    """A `micro.service.Caller` for services of this process, which may call any member of the stack.

    The other side's upstream runs in a task of its own, so nothing of the caller's context leaks in.

    The call carries the request id, correlation id and trace of the context that it is made in, and the caller's
    service token from `sign(source)` unless it has an `authorization` of its own; tokens must live for a minute at least.
    An answer is gathered, up to 10 MiB. Raises `CallError` for an unknown service, an answer that is too large or breaks
    off, none at all, and one that takes longer than the call's timeout: the app is cancelled then.
    """

    def __init__(
        self,
        upstreams: Mapping[str, LocalUpstream | NetworkUpstream],
        *,
        sign: Callable[[str], str],
        clock: Clock,
    ) -> None:
        self._upstreams = upstreams
        self._sign = sign
        self._clock = clock
        self._tokens: dict[str, tuple[bytes, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def call(self, call: Call) -> Reply:
        """See `micro.service.Caller.call`."""
        upstream = self._upstreams.get(call.target)
        if upstream is None:
            known = ", ".join(sorted(self._upstreams)) or "none"
            raise CallError(
                f"{call.source} called {call.target}: there is no such service; there are: {known}"
            )
        gathering = _Gathering(call)
        coroutine = _served(upstream.call(self._scope(call), gathering.receive, gathering.send))
        task = asyncio.get_running_loop().create_task(coroutine, context=Variables())
        self._tasks.add(task)
        task.add_done_callback(gathering.ended)
        task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(call.timeout):
                return await gathering.reply
        except TimeoutError as error:
            raise gathering.error(f"no answer within {call.timeout:g} s") from error
        finally:
            gathering.over.set()
            if not gathering.complete:
                task.cancel()

    async def close(self) -> None:
        """Cancel what still runs: background work of answers, for five seconds where it swallows that. Idempotent."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCELLATION)

    def _scope(self, call: Call) -> dict[str, Any]:
        target = quote(call.path, safe=_SAFE).encode("ascii")
        raw, _, query = target.partition(b"?")
        context = self._context()
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "method": call.method,
            "path": decoded(raw).decode("utf-8", "replace"),
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": [*self._headers(call, context)],
            "client": ("127.0.0.1", 0),
            "server": (call.target, None),
            "state": {},
            "micro.context": context,
        }

    def _headers(self, call: Call, context: Context) -> list[Pair]:
        headers = [pair for pair in call.headers if pair[0] not in _OWN]
        headers += [
            (b"host", call.target.encode("ascii")),
            (b"content-length", b"%d" % len(call.body)),
            (b"x-request-id", (context.request_id or "").encode("ascii")),
            (b"x-correlation-id", context.correlation_id.encode("ascii")),
            (b"traceparent", context.traceparent.encode("ascii")),
        ]
        if all(name != b"authorization" for name, _ in headers):
            headers.append((b"authorization", self._token(call.source)))
        return headers

    def _context(self) -> Context:
        cause = current.get()
        request_id = (cause and cause.request_id) or new_id(self._clock)
        return Context(
            correlation_id=cause.correlation_id if cause else request_id,
            causation_id=request_id,
            traceparent=child_traceparent(cause.traceparent if cause else None, self._clock),
            request_id=request_id,
        )

    def _token(self, source: str) -> bytes:
        token, until = self._tokens.get(source, (b"", 0.0))
        now = self._clock.monotonic()
        if not token or now >= until:
            token = b"Bearer " + self._sign(source).encode("ascii")
            self._tokens[source] = (token, now + TOKEN_REUSED)
        return token


class _Gathering:
    """The client's side of one call."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()
        self.complete = False
        self._asked = False
        self._status = 0
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = 0

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._call.body, "more_body": False}
        await self.over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            for name, value in message.get("headers", ()):
                key = name.decode("latin-1").lower()
                text = value.decode("latin-1")
                self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text
        elif message["type"] == "http.response.body" and not self.reply.done():
            self._gather(message.get("body", b""), more=message.get("more_body", False))

    def ended(self, task: asyncio.Task[None]) -> None:
        """The app is done: with an answer, or without one."""
        failure = None if task.cancelled() else task.exception()
        if self.reply.done():
            if failure is not None and self.complete:
                logger.error("%s failed after its answer", self._call.target, exc_info=failure)
            return
        reason = "the answer broke off" if self._status else "no answer"
        error = self.error(f"{reason}: {failure}" if isinstance(failure, UpstreamError) else reason)
        error.__cause__ = failure
        self.reply.set_exception(error)

    def error(self, reason: str) -> CallError:
        call = self._call
        return CallError(f"{call.source} called {call.target}: {call.method} {call.path}: {reason}")

    def _gather(self, body: bytes, *, more: bool) -> None:
        self._size += len(body)
        if self._size > MAX_ANSWER:
            self.reply.set_exception(self.error(f"the answer is larger than {MAX_ANSWER} bytes"))
            return
        self._parts.append(body)
        if not more:
            self.complete = True
            self.reply.set_result(Reply(self._status, self._headers, b"".join(self._parts)))


async def _served(answering: Awaitable[None]) -> None:
    await answering
