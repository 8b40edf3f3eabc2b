"""What the connections of one port share; and what makes them, as uvicorn's `http=` setting."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any

from micro.ids import new_id
from micro.web.server.head import HeadReader
from micro.web.server.outgoing import Outgoing

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from micro.clock import Clock
    from micro.web.server.connection import Connection
    from micro.web.server.limits import Limits
    from micro.web.server.room import Room
    from micro.web.server.turn import Flushed

    Pair = tuple[bytes, bytes]

TICK = 1.0
"""Seconds between two looks at every connection. Whoever runs the port calls `Port.look` that often."""


class Port:
    """Called by uvicorn for each new connection, with `config`, `server_state`, `app_state` and `_loop`.

    Of these it uses what every protocol class of uvicorn's does: `config.loaded_app`, `.root_path`, `.ws_protocol_class`;
    `server_state.connections`, `.tasks` and `.default_headers`. It doesn't count requests for uvicorn's `limit_max_requests`.
    """

    __slots__ = (
        "_late",
        "_make",
        "_stamped",
        "_tail",
        "app",
        "app_state",
        "clock",
        "config",
        "connections",
        "context",
        "limits",
        "loop",
        "outgoing",
        "reader",
        "refusal_fields",
        "room",
        "state",
        "tasks",
        "tick",
    )

    app: Any
    app_state: dict[str, Any]
    config: Any
    loop: asyncio.AbstractEventLoop
    state: Any
    tasks: set[asyncio.Task[None]]

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Clock,
        room: Room,
        make: Callable[[Port], Connection],
        refusal_fields: Callable[[Sequence[Pair]], Sequence[Pair]] | None = None,
    ) -> None:
        self.limits = limits
        self.refusal_fields = refusal_fields or _none
        """What refusals say besides, of a request with that header, as far as it came; nobody has checked it."""
        self.clock = clock
        self.room = room
        self.reader = HeadReader()
        self.outgoing = Outgoing()
        self.tick = 0
        """How often `look` was called."""
        self.context = Context()
        """For callbacks that a request happens to cause, so that the next one doesn't inherit its variables."""
        self.config = None
        self.connections: set[Any] = set()
        self._make = make
        self._late: list[Flushed] = []
        self._stamped: Any = None
        self._tail = b""

    def __call__(
        self,
        *,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        """A protocol for one more connection."""
        if self.config is None:
            self._belong(config, server_state, app_state)
        return self._make(self)

    def look(self) -> None:
        """A second passed: close what is idle, cut off who is slow."""
        self.tick += 1
        for connection in tuple(self.connections):
            look = getattr(connection, "look", None)
            if look is not None:  # not a WebSocket of uvicorn's, which keeps its own time
                look(self.tick)

    def later(self, turn: Flushed) -> None:
        """Call `turn.flush()` at the end of this turn of the event loop."""
        if not self._late:
            self.loop.call_soon(self._flush, context=self.context)
        self._late.append(turn)

    def tail(self) -> bytes:
        """The end of every head that is sent from here: the server's own fields, and the empty line."""
        fields = self.state.default_headers
        if fields is not self._stamped:  # uvicorn makes a new list every second
            self._stamped = fields
            self._tail = b"".join([b"%b: %b\r\n" % pair for pair in fields]) + b"\r\n"
        return self._tail

    def new_id(self) -> str:
        """The id of a request that has none of its own yet."""
        return new_id(self.clock)

    def _belong(self, config: Any, state: Any, app_state: dict[str, Any]) -> None:
        import asyncio  # noqa: PLC0415 # for the loop alone

        self.loop = asyncio.get_running_loop()
        self.config, self.state, self.app_state = config, state, app_state
        self.app = config.loaded_app
        self.connections, self.tasks = state.connections, state.tasks
        self.room.add(self)

    def _flush(self) -> None:
        late, self._late = self._late, []
        for turn in late:
            turn.flush()


def _none(headers: Sequence[Pair]) -> Sequence[Pair]:
    return ()
