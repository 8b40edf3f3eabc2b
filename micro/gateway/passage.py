"""What both ways of an exchange on the short path share: the gateway's own answers, and every end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.gateway.exchange import Exchange
from micro.gateway.guard import own_answer
from micro.gateway.known import KnownHeader
from micro.web.server.answer import CLOSE_FIELD, WITHOUT_BODY, render

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Sequence

    from micro.gateway.exchange import Answer
    from micro.gateway.pipeline import BodyFilter
    from micro.gateway.plan import Plan
    from micro.gateway.protocol import GatewayProtocol
    from micro.gateway.upstream.direct import Leg
    from micro.web.server.head import Head

# How far the answer is. `HEADED`: its head is here, and nothing of it was sent.
NOTHING, HEADED, BEGUN, TUNNEL, OVER = range(5)

_begin = Exchange.__init__
"""By a name of its own: `super` costs as much as what it calls."""


class Arrival:
    """How far the body of a request is on its way in."""

    __slots__ = ("choked", "early", "expects", "whole")

    def __init__(self, *, expects: bool) -> None:
        self.expects = expects
        """Whether the client waits for `100 Continue`."""
        self.whole = False
        """Whether it has come to its end."""
        self.early: list[bytes] = []
        """What came before the upstream was chosen."""
        self.choked = False
        """Whether the upstream takes no more of it at the moment."""


class Passage(Exchange):
    """An exchange on a client's connection."""

    __slots__ = (
        "_arrival",
        "_chunked",
        "_connection",
        "_deciding",
        "_filters",
        "_keep",
        "_left",
        "_mute",
        "_out",
        "_progress",
        "leg",
        "plan",
    )

    # Set by the head of the answer, before a piece of its body comes.
    _out: list[bytes]
    """What waits to be sent."""
    _filters: Sequence[BodyFilter]
    _left: int
    """Bytes of the answer's body to come."""
    _mute: bool
    """Whether the answer has no body: HEAD, 204, 304."""
    _chunked: bool
    _keep: bool
    """Whether the connection can be used again."""

    def __init__(self, connection: GatewayProtocol, plan: Plan, head: Head) -> None:
        fields = head.fields
        if fields.extra is None:
            fields.extra = KnownHeader(fields.headers)
        _begin(self, head.method, head.path, fields.headers, known=fields.extra)
        self.query = head.query
        self.version = head.version
        self.scheme = connection.scheme
        self.peer = connection.peer
        monotonic = plan.monotonic  # a callable kept in a slot is called faster by a name
        self.started = self.began = monotonic()
        self._connection = connection
        self.plan = plan
        self.leg: Leg | None = None
        """See `Downstream.leg`."""
        self._deciding: Task[None] | None = None
        """Where policies have to wait before they know."""
        self._progress = NOTHING
        self._arrival = Arrival(expects=fields.expects) if fields.length else None
        """The request's body, where it has one."""

    @property
    def over(self) -> bool:
        """Whether it has ended, and is recorded."""
        return self._progress == OVER

    def give(self, answer: Answer) -> None:
        """Send an answer of the gateway's own."""
        body = own_answer(answer, self, self.plan)
        fields = [pair for pair in self.fields if pair[0] != b"content-length"]
        if CLOSE_FIELD in fields:
            fields.remove(CLOSE_FIELD)
            self._connection.keep_alive = False
        if self.status not in WITHOUT_BODY:
            fields.append((b"content-length", b"%d" % len(body)))
        self.fields = fields
        self._out = []
        if self.method != "HEAD":
            self._out.append(body)
            self.sent = len(body)
        self._put_head()
        self._connection.transport.write(b"".join(self._out))
        self._finish()
        self._connection.done(self._keep)

    def _put_head(self) -> None:
        """Put the head in front of what is to be sent."""
        connection, fields = self._connection, self.fields
        self._keep = keep = connection.reusable()
        if not keep:
            fields.append(CLOSE_FIELD)
        self._out.insert(0, render(self.status, fields, connection.port.tail()))
        self._progress = BEGUN

    def _refuse(self, answer: Answer) -> None:
        """Answer in the upstream's place."""
        self._call_off()
        self.give(answer)

    def _break_off(self) -> None:
        """End so that the client notices that something is missing."""
        self._abandon()
        self._connection.abort()

    def _abandon(self) -> None:
        """End without another word to the client."""
        self._call_off()
        self._finish()

    def _finish(self) -> None:
        """Whatever happened, leave nothing behind, and a record of it."""
        self._progress = OVER
        self.leg = None
        self.plan.recorder.record(self, self.plan.ends)

    def _call_off(self) -> None:
        """What the upstream or a policy has to say doesn't matter any more."""
        if self.leg is not None:
            self.leg.cancel()
        task, self._deciding = self._deciding, None
        if task is not None:
            # Not at once: what never began to run could not end what it was given to wait for.
            self._connection.port.loop.call_soon(task.cancel)
