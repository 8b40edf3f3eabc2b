"""The ids of a request that comes straight from the network."""

from __future__ import annotations

import pytest

from micro.errors import CallError
from micro.ids import is_id, is_traceparent
from micro.security.peers import TrustedPeers
from micro.web.fields import PEER
from micro.web.incoming import arrival, id_from, incoming_context

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


def scope_of(*pairs, client=("127.0.0.1", 5)):
    return {"headers": [(b"host", b"localhost"), *pairs], "client": client}


def proof(verifier, kind="service"):
    return PEER, verifier.token("gateway", kind=kind).encode()


@pytest.mark.parametrize(
    "name", [b"x-user-id", b"x_user_id", b"remote-user", b"x-micro-peer", b"x_micro_peer"]
)
async def test_nobody_outside_says_who_the_user_is(verifier, clock, name):
    """Not on a service's own port either, in whatever spelling some server reads."""
    sent = await arrival(scope_of((name, b"ada"), (b"x-a", b"1")), verifier, clock)
    assert sent.headers == [(b"host", b"localhost"), (b"x-a", b"1")]
    assert not sent.ours
    assert sent.client == ("127.0.0.1", 5)


async def test_our_gateway_is_believed(verifier, clock):
    """Who the user is, whom it asks for, and how the request is called; its proof goes no further."""
    pairs = [
        (b"x-user-id", b"ada"),
        (b"x-request-id", b"r-1"),
        (b"x-forwarded-for", b"203.0.113.7"),
        (b"authorization", b"Bearer " + verifier.token("ada").encode()),
    ]
    sent = await arrival(scope_of(*pairs, proof(verifier), (b"x_micro_peer", b"x")), verifier, clock)
    assert sent.ours
    assert sent.context.request_id == "r-1"
    assert sent.headers == [(b"host", b"localhost"), *pairs]
    assert sent.client == ("203.0.113.7", 0)


@pytest.mark.parametrize("value", ["", "x", "a.b.c", "ü"])
async def test_a_proof_that_proves_nothing_is_none(verifier, clock, value):
    """And no error: the request is a stranger's."""
    claimed = [
        (PEER, value.encode("latin-1")),
        (b"x-request-id", b"mine"),
        (b"x-forwarded-for", b"203.0.113.7"),
    ]
    sent = await arrival(scope_of(*claimed), verifier, clock)
    assert not sent.ours
    assert sent.context.request_id != "mine"
    assert sent.client == ("127.0.0.1", 5)


@pytest.mark.parametrize("kind", ["user", "api_key"])
async def test_a_user_s_token_proves_nothing(verifier, clock, kind):
    """However good it is."""
    assert not (await arrival(scope_of(proof(verifier, kind)), verifier, clock)).ours


async def test_while_the_keys_can_t_be_had_nobody_is_believed(clock):
    """The endpoint says so, where it matters."""

    class Helpless:
        def cached(self, token):
            return None

        async def verify(self, token):
            raise CallError("nobody answers")

    assert not (await arrival(scope_of((PEER, b"a.b.c")), Helpless(), clock)).ours


@pytest.mark.parametrize(
    ("hops", "trusted", "client"),
    [
        (None, (), ("127.0.0.1", 5)),
        (b" ", (), ("127.0.0.1", 5)),
        (b"198.51.100.9, 203.0.113.7", (), ("203.0.113.7", 0)),
        (b"198.51.100.9, 203.0.113.7", ("203.0.113.0/24",), ("198.51.100.9", 0)),
        (b"203.0.113.7", ("203.0.113.0/24",), ("203.0.113.7", 0)),
    ],
)
async def test_the_client_is_whom_the_gateway_takes_it_for(verifier, clock, hops, trusted, client):
    """By the same rule, on the list that it has sent."""
    pairs = [proof(verifier)] if hops is None else [proof(verifier), (b"x-forwarded-for", hops)]
    peers = TrustedPeers(trusted) if trusted else None
    assert (await arrival(scope_of(*pairs), verifier, clock, peers=peers)).client == client
