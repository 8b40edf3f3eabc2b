"""The ids of a request that comes straight from the network: request id, correlation id, trace context."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from micro.context import Context
from micro.ids import child_traceparent, new_id
from micro.web.auth import authenticate
from micro.web.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from micro.clock import Clock
    from micro.service import Verifier

_ID = re.compile(rb"[A-Za-z0-9_.-]{1,128}\Z")
_NAMES = frozenset({b"x-request-id", b"x-correlation-id", b"traceparent"})


def id_from(value: bytes | None) -> str | None:
    """An id that a header may bring: 1 to 128 of ``A-Z a-z 0-9 _ . -``; anything else counts as absent."""
    return value.decode("ascii") if value is not None and _ID.match(value) else None


async def incoming_context(
    headers: Sequence[tuple[bytes, bytes]], verifier: Verifier, clock: Clock
) -> Context:
    """The context of a request that no gateway of this process has prepared.

    The request id is taken over from a peer that shows a service's token, else made; the correlation id is taken from
    anyone, else it is the request id; the trace is continued.
    """
    given = {name: value for name, value in headers if name in _NAMES} if headers else {}
    request_id = id_from(given.get(b"x-request-id"))
    if request_id is None or not await _is_service(headers, verifier):
        request_id = new_id(clock)
    return Context(
        correlation_id=id_from(given.get(b"x-correlation-id")) or request_id,
        causation_id=request_id,
        traceparent=child_traceparent(given.get(b"traceparent", b"").decode("latin-1"), clock),
        request_id=request_id,
    )


async def _is_service(headers: Sequence[tuple[bytes, bytes]], verifier: Verifier) -> bool:
    try:
        return (await authenticate(headers, verifier)).kind == "service"
    except Problem:  # the endpoint says what is wrong with a token, and whether that matters
        return False
