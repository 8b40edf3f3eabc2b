"""Policies may be anybody's: whatever one does wrong ends as an answer, on every adapter the same."""

from __future__ import annotations

import logging
from asyncio import CancelledError, current_task
from typing import TYPE_CHECKING

from micro.gateway.pipeline import release
from micro.gateway.refusals import INTERNAL, fail, refuse, refuse_by
from micro.web.problems import to_problem
from micro.web.server.answer import check

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from micro.gateway.exchange import Answer, Exchange
    from micro.gateway.pipeline import BodyFilter
    from micro.gateway.plan import Plan

logger = logging.getLogger("micro.gateway")

UNDECIDED = "proxy_internal_response"
"""The RFC 9209 type of an answer that the gateway gives without having asked the service, where no other type fits."""
_SWITCHING = 101


async def settled(verdict: Awaitable[Answer | None], exchange: Exchange) -> Answer | None:
    """What a policy says that had to wait. Raises nothing, unless its task is cancelled."""
    try:
        return await verdict
    except CancelledError:
        task = current_task()
        if task is not None and task.cancelling():
            raise
        logger.exception("a policy waited for something that was cancelled")
        return fail(exchange, INTERNAL)
    except Exception as error:  # noqa: BLE001 # as above
        return refuse_by(exchange, to_problem(error), kind=INTERNAL)


def undecided(exchange: Exchange) -> Answer:
    """The answer where the policies took all of the route's time."""
    service = exchange.pipeline.service if exchange.pipeline is not None else ""
    logger.error("the policies did not decide within the time of their route to %s", service)
    return refuse(exchange, 504, detail="The gateway was not done with the request in time.", kind=UNDECIDED)


def released(exchange: Exchange, plan: Plan) -> Sequence[BodyFilter]:
    """Show the answer's head to the policies: see `pipeline.release`.

    Raises what a policy raises; `ValueError` or `TypeError` where a stranger's has made a head that can't be sent.
    """
    pipeline = exchange.pipeline
    filters = release(plan.responses if pipeline is None else pipeline.responses, exchange)
    if pipeline is not None and pipeline.foreign:
        check_head(exchange)
    return filters


def check_head(exchange: Exchange) -> None:
    """Raises `ValueError` or `TypeError` for an answer's head that can't be sent."""
    status = exchange.status
    if not 200 <= status <= 599 and status != _SWITCHING:
        raise ValueError(f"{status!r} is no final status")
    check(exchange.fields)


def filtered(filters: Sequence[BodyFilter], data: bytes, *, last: bool = False) -> bytes:
    """A piece of a body as the filters leave it; with `last`, what they held back behind it. Raises what they raise."""
    for part in filters:
        if data:
            data = part.feed(data)
        if last:
            data += part.end()
    if not isinstance(data, bytes):
        raise TypeError(f"a body is made of bytes, not of {type(data).__name__}")
    return data


def own_answer(answer: Answer, exchange: Exchange, plan: Plan) -> bytes:
    """Make an answer of the gateway's own the exchange's; its body. Raises nothing.

    Where a policy fails on it, it is a 500 that only the gateway's own policies have seen.
    """
    try:
        exchange.status, exchange.fields = answer.status, list(answer.headers)
        return filtered(released(exchange, plan), answer.body, last=True)
    except Exception:
        logger.exception("a policy failed on an answer of the gateway")
        answer = fail(exchange, INTERNAL)
        exchange.status, exchange.fields = answer.status, list(answer.headers)
        return filtered(release(plan.responses, exchange), answer.body, last=True)
