"""Instances of the stack's own are shown that a request comes from the stack; nobody else is."""

from __future__ import annotations

import asyncio

import pytest

from micro.gateway.headers import read
from micro.gateway.known import KnownHeader
from micro.gateway.upstream.proof import RENEWED, Proof
from micro.gateway.upstream.request import usual_head
from micro.web.fields import PEER

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
FORGED = [(b"x-micro-peer", b"forged"), (b"x_micro_peer", b"forged"), (b"x-micro_peer", b"forged")]


class Signing:
    """Gives token after token."""

    def __init__(self):
        self.count = 0
        self.same = False

    def __call__(self):
        self.count += not (self.same and self.count)
        return f"token-{self.count}"


def proofs(request):
    """The values of the field in a request's head, however it is spelt."""
    lines = request.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")[1:]
    fields = [line.split(b": ", 1) for line in lines]
    return [value for name, value in fields if name.replace(b"_", b"-") == PEER]


@pytest.fixture
def there(bench):
    made = bench(pass_host=True)
    made.upstream.proof = Proof(Signing())
    return made


def test_a_token_is_sent_again_for_a_while_and_is_the_same_object_as_long_as_it_is_the_same():
    sign = Signing()
    proof = Proof(sign)
    first = proof.field(100.0)
    assert first == (PEER, b"token-1")
    assert proof.field(100.0 + RENEWED - 0.1) is first
    second = proof.field(100.0 + RENEWED)
    assert second == (PEER, b"token-2")
    sign.same = True
    assert proof.field(200.0 + RENEWED) is second


@pytest.mark.parametrize("known", [False, True])
async def test_it_goes_with_what_the_gateway_passes_on(there, origin, exchange_of, known):
    client = there.start(headers=())
    exchange = client.exchange
    _, request = await origin.answer(OK)
    assert proofs(request) == [b"token-1"]
    again = exchange_of(headers=[(b"x-a", b"1")])
    if known:
        again.known = KnownHeader([(b"host", b"shop.example"), (b"x-a", b"1")])
        again.found, again.headers, again.pipeline.foreign = again.known.found, again.known.kept, False
    pool = there.upstream.pool_of(there.instance)
    for seconds, expected in ((0.0, b"token-1"), (0.1, b"token-1"), (RENEWED * 4, b"token-2")):
        leg = there.upstream.leg(again, None, body=False, headers=None)
        again.began = exchange.started + seconds
        head = usual_head(again, pool)
        assert bool(head) is (known and seconds == 0.1), "the one before had the same"
        assert proofs(head or leg._head(pool)) == [expected], seconds


def test_a_client_that_sends_it_is_not_heard():
    _, kept = read([(b"host", b"h"), *FORGED])
    assert kept == [(b"host", b"h")]


async def test_it_goes_with_a_call_in_the_place_of_what_an_author_passes_on(there, origin):
    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": "GET",
        "raw_path": b"/a",
        "query_string": b"",
        "headers": [(b"host", b"shop"), FORGED[0]],
    }

    async def nothing(*_):
        return None

    task = asyncio.create_task(there.upstream.call(scope, nothing, nothing))
    _, request = await origin.answer(OK)
    async with asyncio.timeout(60):
        await task
    assert proofs(request) == [b"token-1"]


@pytest.mark.parametrize(("path", "sent"), [("/up", [b"token-1"]), ("/health/ready", []), ("/health", [])])
async def test_it_goes_with_a_probe_where_not_anybody_is_answered(there, origin, path, sent):
    """So that nobody has to make or check a token for the first answer of a start."""
    task = asyncio.create_task(there.upstream.probe(there.instance, path))
    _, request = await origin.answer(OK)
    assert await task == 200
    assert proofs(request) == sent


async def test_an_instance_that_is_somebody_else_s_gets_none(bench, origin):
    there = bench()
    there.start()
    _, request = await origin.answer(OK)
    assert proofs(request) == []
