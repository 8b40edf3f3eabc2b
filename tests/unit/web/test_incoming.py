"""The ids of a request that comes straight from the network."""

from __future__ import annotations

import pytest

from micro.ids import is_id, is_traceparent
from micro.web.incoming import id_from, incoming_context

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def context(verifier, clock, **headers):
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return await incoming_context(pairs, verifier, clock)


async def test_without_headers_everything_is_new(verifier, clock):
    """The correlation id is the request id, and the trace has no parent."""
    made = await context(verifier, clock)
    assert is_id(made.request_id)
    assert made.correlation_id == made.causation_id == made.request_id
    assert is_traceparent(made.traceparent)


async def test_a_correlation_id_is_taken_from_anyone(verifier, clock):
    """It only groups what belongs together."""
    made = await context(verifier, clock, x_correlation_id="order-7.a_b")
    assert made.correlation_id == "order-7.a_b"
    assert made.causation_id == made.request_id != "order-7.a_b"


@pytest.mark.parametrize("value", ["", "a b", "a" * 129, "ü", "a\n", "a,b", "<x>", "a/b", '"', "\u0661"])
async def test_a_malformed_correlation_id_counts_as_absent(verifier, clock, value):
    """It goes into logs and events."""
    if not value.isascii():
        value = value.encode().decode("latin-1")
    made = await context(verifier, clock, x_correlation_id=value)
    assert made.correlation_id == made.request_id


async def test_a_request_id_is_not_taken_from_a_stranger(verifier, clock):
    """Anybody could make two requests look like one."""
    assert (await context(verifier, clock, x_request_id="mine")).request_id != "mine"


async def test_a_request_id_is_not_taken_from_a_user(verifier, clock):
    """However good the token."""
    token = verifier.token("ana", role="admin")
    made = await context(verifier, clock, x_request_id="mine", authorization=f"Bearer {token}")
    assert made.request_id != "mine"


async def test_a_request_id_is_taken_from_a_service(verifier, clock):
    """Its token makes the peer trusted."""
    token = verifier.token("gateway", kind="service")
    made = await context(verifier, clock, x_request_id="r-1", authorization=f"Bearer {token}")
    assert made.request_id == made.causation_id == made.correlation_id == "r-1"


async def test_a_malformed_request_id_of_a_service_counts_as_absent(verifier, clock):
    """It is a log's text all the same."""
    token = verifier.token("gateway", kind="service")
    made = await context(verifier, clock, x_request_id="a b", authorization=f"Bearer {token}")
    assert is_id(made.request_id)


async def test_a_forged_service_token_makes_nobody_trusted(verifier, clock):
    """And is no reason to refuse here: the endpoint does that where it matters."""
    made = await context(verifier, clock, x_request_id="mine", authorization="Bearer forged")
    assert made.request_id != "mine"


async def test_a_trace_is_continued_with_a_new_parent(verifier, clock):
    """W3C trace context: same trace, own id, same flags."""
    made = await context(verifier, clock, traceparent=PARENT)
    assert made.traceparent.split("-")[1] == PARENT.split("-")[1]
    assert made.traceparent.split("-")[2] != PARENT.split("-")[2]
    assert made.traceparent.endswith("-01")


@pytest.mark.parametrize("value", ["", "garbage", "00-" + "0" * 32 + "-b7ad6b7169203331-01", PARENT.upper()])
async def test_an_invalid_trace_is_replaced(verifier, clock, value):
    """By a new one."""
    made = await context(verifier, clock, traceparent=value)
    assert is_traceparent(made.traceparent)
    assert made.traceparent[3:35] != value[3:35]


def test_ids_are_ascii_of_bounded_length():
    """1 to 128 of letters, digits, underscore, dot, hyphen."""
    assert id_from(b"a" * 128) == "a" * 128
    assert id_from(b"a" * 129) is None
    assert id_from(None) is None
