"""One request and its answer on the way through the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from micro.gateway.headers import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.gateway.headers import Pair
    from micro.gateway.known import KnownHeader
    from micro.gateway.pipeline import Pipeline
    from micro.gateway.upstream.answer import KnownAnswer
    from micro.service import Identity


class Answer:
    """A complete answer that the gateway gives by itself."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Sequence[Pair] = (), *, body: bytes = b"") -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Exchange:
    """What adapters, policies and upstreams share about one request. Plain attributes; each has one writer.

    An adapter makes it and writes what the client sent. What a policy finds out, it writes: so these attributes exist
    once that policy has run, and `client`, the ids and the trace from the first one on. The answer is written where it
    passes. Bytes stay bytes, and the pairs of the headers are the server's own objects.
    """

    __slots__ = (
        "began",
        "body_limit",
        "breaker",
        "client",
        "correlation_id",
        "ended",
        "error",
        "fields",
        "form",
        "forwarded_for",
        "found",
        "headers",
        "held",
        "identity",
        "ids",
        "instance",
        "known",
        "known_answer",
        "method",
        "path",
        "peer",
        "pipeline",
        "query",
        "quota",
        "received",
        "request_id",
        "scheme",
        "scope",
        "sent",
        "started",
        "status",
        "target",
        "traceparent",
        "tries",
        "trusted",
        "upstream_seconds",
        "version",
        "via",
    )

    scope: dict[str, Any]
    """The ASGI scope that it came in, where it came so. Not to be changed."""
    method: str
    """As it came; `GET` for a WebSocket."""
    path: bytes
    """As it came, still encoded, without the query."""
    target: bytes
    """The path to send on: `path`, unless a policy maps it to another."""
    query: bytes
    version: str
    """`1.0`, `1.1`, `2`, `3`, or what the client claims."""
    scheme: str
    headers: Sequence[Pair]
    """The fields that go on; see `headers.read`. Replaced, never changed in place."""
    found: dict[bytes, bytes]
    """Every field by its name, repeated ones joined. Not to be changed either: the next request may share it."""
    known: KnownHeader | None
    """Where our own parser has read the header: what is remembered of it."""
    peer: tuple[str, int] | None
    """Address and port of the other end of the connection, where it has one."""
    started: float
    """The clock's monotonic time when the request came."""

    client: str
    """The client's address: the peer's, or what trusted peers say it is."""
    forwarded_for: Pair
    """The peer as a field for the upstream."""
    trusted: bool
    """Whether the peer is one of the trusted proxies."""
    request_id: str
    correlation_id: str
    ids: bytes
    """Both ids as lines of a header, each with its end, for upstream and client."""
    traceparent: bytes
    """Of this leg: the client's trace with a span of the gateway's own."""
    form: bytes
    """The form of the path that routes are matched on. See `paths`."""
    via: Pair
    """The `Via` field to send on, the gateway's own entry included."""
    pipeline: Pipeline | None
    """What the route does with this request; none where there is no route."""
    body_limit: int
    """How many bytes of body may come; counted while they do."""
    received: int
    """Bytes of the request's body so far."""
    quota: bytes
    """What the answer says of the rate limits that counted this request, as lines like `ids`; empty where none did."""
    identity: Identity | None
    held: bool
    """Whether it is one of those that the limit of requests in hand counts."""
    breaker: object | None
    """The route's breaker, where that let it through."""

    instance: str
    """Address of the instance that was chosen last; empty where there is only the app."""
    began: float
    """When the request was sent, the last time; `started`, as long as nothing was waited for."""
    tries: int
    """How often the request was sent."""
    upstream_seconds: float
    """From sending the request, the last time, to the head of its answer; 0 where nobody measured it."""
    known_answer: KnownAnswer | None
    """What is remembered of the answer's head, where an upstream on the network has seen it before. Not to be changed."""
    status: int
    fields: list[Pair]
    """The answer's header; policies may change it in place."""
    sent: int
    """Bytes of the answer's body so far."""
    error: str
    """The RFC 9209 error type, where the gateway answers in the upstream's place."""
    ended: float
    """The clock's monotonic time when it had ended: for `on_end`."""

    def __init__(
        self, method: str, path: bytes, headers: Sequence[Pair], *, known: KnownHeader | None = None
    ) -> None:
        """`headers` as they came; they are read, unless what they say is `known`."""
        self.method = method
        self.path = self.target = path
        self.known = known
        if known is None:
            self.found, self.headers = read(headers)
        else:
            self.found, self.headers = known.found, known.kept
        self.pipeline = None
        self.body_limit = 0
        self.received = 0
        self.quota = b""
        self.identity = None
        self.held = False
        self.breaker = None
        self.instance = ""
        self.tries = 0
        self.known_answer = None
        self.upstream_seconds = 0.0
        self.status = 0
        self.sent = 0
        self.error = ""

    def id_fields(self) -> tuple[Pair, Pair]:
        """What `ids` says, as fields."""
        return (
            (b"x-request-id", self.request_id.encode("ascii")),
            (b"x-correlation-id", self.correlation_id.encode("ascii")),
        )
