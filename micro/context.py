"""What caused the code that runs now: carried from HTTP to event to HTTP.

The gateway and the wrapper around every service set it for a request, the consumer for an event. `emit`, `call` and
the log records read it. Tasks inherit it, as they do every context variable.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Context:
    """One request or one event being handled."""

    correlation_id: str
    """Shared by everything that one outside request led to."""
    causation_id: str
    """The direct cause: the request id inside a request, the event id inside an event handler."""
    traceparent: str
    """W3C trace context of this leg."""
    request_id: str | None = None
    """Set inside a request only."""


current: ContextVar[Context | None] = ContextVar("micro_context", default=None)
