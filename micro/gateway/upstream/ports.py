"""What the gateway asks of an upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from micro.errors import MicroError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from micro.gateway.exchange import Exchange

Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"


class UpstreamError(MicroError):
    """No usable answer came. `kind` is the error type of RFC 9209 section 2.3, which decides the status.

    The text is for the log: it may name addresses, and is not told to clients.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class Upstream(Protocol):
    """Where requests are sent. Serves any number of them concurrently."""

    def serve(self, exchange: Exchange, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one exchange, whose policies have all passed, in ASGI's messages.

        Both directions stream: the body is asked for piece by piece with `receive`, and `send` returns when the client
        can take more. Done when the awaitable is. Raises `UpstreamError` where no answer, or only part of one, was to
        be had; any other exception is taken for a broken application. When the client leaves, `receive` gives
        `http.disconnect`, and the awaitable is cancelled some seconds later; at the deadline it is cancelled at once.
        """
        ...
