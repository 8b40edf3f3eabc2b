"""What caused the code that runs now: carried from HTTP to event to HTTP.

The gateway and the wrapper around every service set it for a request, the consumer for an event. `emit`, `call` and
the log records read it. Tasks inherit it, as they do every context variable.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def save_context() -> str:
    """What the work in hand was caused by, as a short text to keep in a column; empty where nothing caused it.

    For work that a row asks for and a background worker does later; see `restore_context`.
    """
    context = current.get()
    return json.dumps(astuple(context)[:3]) if context is not None else ""


@contextmanager
def restore_context(text: str) -> Iterator[None]:
    """Do what follows in the context that `save_context` made this text of.

    Events emitted meanwhile have the same correlation, cause and trace as if they had been emitted then. A text that is
    empty, or not of `save_context`, means no context.
    """
    mark = current.set(_read(text))
    try:
        yield
    finally:
        current.reset(mark)


def _read(text: str) -> Context | None:
    try:
        parts = json.loads(text)
    except ValueError:
        return None
    if isinstance(parts, list) and len(parts) == 3 and all(isinstance(part, str) and part for part in parts):
        return Context(*parts)
    return None
