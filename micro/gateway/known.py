"""What is remembered from one request to the next: all of it is told here.

**Why.** Most clients send the same header block with each request of a connection, many the same request, and an instance
most of its answers with one head. Comparing bytes is cheaper than reading them, so what follows from bytes that came
before isn't found out again. A request goes from the client's connection to the instance's, and its answer back:

    bytes that come again         what is kept          where                       what it saves
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────
    a client's header block       `head.Fields`         its connection              parsing it
                                  `KnownHeader`         its `extra`                 telling what ends here, and by name
                                  `Way`                 its `ways`, by route        policies `by_head`
                                  `request.Sent`        its `sent`, by pool         joining the lines for an instance
    a client's whole head         `head.Head`           its connection              reading the request line
                                  `Way`, path's form    its `way`                   finding the route, besides
    the head of a whole answer    `answer.KnownAnswer`  its connection              parsing it
                                  `Rendered`            its `extra`                 `steady` policies, joining its lines

**What holds for each of them**, and makes it safe:

- It serves for the very same bytes. What else has a say is compared by identity, each time, and named with the class: the
  plan or pipeline above all, so a reload makes all of it void.
- What depends on more than that is asked each time: limits, tokens, breakers, ids, the time that is left.
- It is never changed once it is made. Who wants something else of an exchange puts another object into that, and then
  nothing that was remembered serves.
- Whatever is unusual takes the way that remembers nothing: a trusted peer, a policy of somebody else's, a header that a
  policy has changed. That way is the specification: what is remembered must give the same bytes.
- None of it outlives its connection, and each connection remembers one of each; of what goes by route or pool, 16. A
  client's is forgotten after a second without a request, an instance's with its connection.

What policies keep for all connections (verified tokens, keys of windows, hosts, peers) is bounded, and explained where it
is. Which policies are `by_head` or `steady` is told in `pipeline`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from micro.gateway.headers import read
from micro.web.server.answer import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.gateway.exchange import Exchange
    from micro.gateway.headers import Pair
    from micro.gateway.pipeline import Pipeline
    from micro.gateway.plan import Plan

_NAMING = frozenset({b"traceparent", b"tracestate", b"x-correlation-id", b"x-request-id"})
"""What a request may be called by."""
_SPECIAL = frozenset({b"expect", b"tracestate", b"transfer-encoding", b"upgrade"})
_MOST = 16
"""Routes for which a header is remembered."""


class KnownHeader:
    """A header that our own parser has read: what `headers.read` makes of it."""

    __slots__ = ("found", "kept", "nameless", "sent", "usual", "ways")

    def __init__(self, headers: Sequence[Pair]) -> None:
        self.found, self.kept = read(headers)
        self.usual = b"host" in self.found and _SPECIAL.isdisjoint(self.found)
        """Whether an upstream gets the same of it each time, but for ids and trace."""
        self.nameless = _NAMING.isdisjoint(self.found)
        """Whether it has neither an id nor a trace."""
        self.sent: dict[Any, Any] = {}
        """What instances get of it, by their pools: see `request.usual_head`."""
        self.ways: dict[Any, Way] = {}
        """How requests with it went, by their pipelines: see `Plan.way`."""

    def keep(self, way: Way) -> None:
        """Remember it for other paths."""
        if not way.pipeline.foreign:
            if len(self.ways) >= _MOST:
                self.ways.clear()
            self.ways[way.pipeline] = way


class Way:
    """What the policies that read a request's head alone have found, and where it went.

    It serves under the same plan for the same head; and for the same header and method with another path that leads there
    too, where no policy is a stranger's, and the path needs no second look (see `paths.PLAIN`): then what ours say of it
    doesn't depend on the path.
    """

    __slots__ = ("body_limit", "method", "pipeline", "plan", "via")

    def __init__(self, exchange: Exchange, pipeline: Pipeline, plan: Plan) -> None:
        """`exchange` has passed all of `plan`, and goes to an upstream that has a short path."""
        self.plan = plan
        self.pipeline = pipeline
        self.method = exchange.method
        self.via = exchange.via
        self.body_limit = exchange.body_limit


class Rendered:
    """The head of an answer as far as it is the same for every request: the status line, the instance's own fields, what
    steady policies add to them, and the server's own.

    It serves for the same pipeline, scheme and stamp.
    """

    __slots__ = ("front", "pipeline", "scheme", "stamp", "tail")

    def __init__(self, exchange: Exchange, pipeline: Pipeline, *, stamp: object, tail: bytes) -> None:
        """`exchange` has an answer that no policy has seen. `stamp` is what `tail` was made of."""
        self.pipeline, self.scheme, self.stamp = pipeline, exchange.scheme, stamp
        for hook in pipeline.steady:
            hook(exchange)
        self.front = render(exchange.status, exchange.fields, b"")
        self.tail = tail
