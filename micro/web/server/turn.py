"""What answers one request on a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from micro.errors import MicroError

if TYPE_CHECKING:
    from micro.web.problems import Problem


PROBLEM = "micro.problem"
"""In an `http.disconnect` where the client has not left: the `Problem` of its body that it was told of."""


class BrokenOff(MicroError):
    """Raised by an application that is a part of the server: an answer that began can't be completed, which is logged
    already, and the client is to notice."""


class Reader(Protocol):
    """Somebody who takes a request's body."""

    def body(self, data: bytes) -> None:
        """A piece of the body. Never empty."""
        ...

    def body_end(self) -> None:
        """The body is complete. Not called where there is none."""
        ...


class Flushed(Protocol):
    """Somebody who holds something back until the event loop's turn ends."""

    def flush(self) -> None:
        """The turn of the event loop in which `Port.later` was called is over: send what is there."""
        ...


class Turn(Reader, Flushed, Protocol):
    """One request and its answer. At most one of a connection is under way.

    It writes the answer to the connection's transport and calls `Connection.done` when that is complete; from then on,
    and after `lost`, nothing is called any more. After `Connection.tunnel` the body is whatever the client sends, and its
    end is the end of both directions.
    """

    sent: int
    """Bytes of the answer's body so far: it grows while there is progress."""

    def lost(self) -> None:
        """The client left, or what it sends can't be read any further: there is nobody to answer."""
        ...

    def failed(self, problem: Problem) -> None:
        """The rest of the body can't be had: end with `problem`, or break off where an answer has begun."""
        ...

    def stop(self) -> None:
        """The server stops: end a tunnel. Called for nothing else: answers end by themselves."""
        ...

    def throttle(self, *, blocked: bool) -> None:
        """The client takes no more of the answer (`blocked`), or takes more again."""
        ...
