"""The head of a request on its way to an instance."""

from __future__ import annotations

import pytest

from micro.gateway.known import KnownHeader
from micro.gateway.upstream.ports import UpstreamError
from micro.gateway.upstream.request import request_head, time_left, usual_head


def head_of(exchange, headers=(), **more):
    how = {"base": b"", "host": b"host: h", "framing": (), **more}
    return request_head(exchange, list(headers), **how)


def test_the_fields_stand_as_they_are_in_their_order(exchange_of):
    exchange = exchange_of(path=b"/a%2Fb")
    exchange.query = b"x=%00"
    head = head_of(
        exchange, [(b"x-a", b"1"), (b"x-a", b""), (b"b", b"\xff")], framing=(b"transfer-encoding: chunked",)
    )
    assert head == (
        b"GET /a%2Fb?x=%00 HTTP/1.1\r\nhost: h\r\nx-a: 1\r\nx-a: \r\nb: \xff\r\ntransfer-encoding: chunked\r\n\r\n"
    )


def test_a_mapped_target_goes_on_behind_the_base(exchange_of):
    exchange = exchange_of(path=b"/shop/items")
    exchange.target = b"/items"
    assert head_of(exchange, base=b"/v1").startswith(b"GET /v1/items HTTP/1.1\r\n")


def test_without_a_host_line_the_client_s_own_stands(exchange_of):
    head = head_of(exchange_of(), [(b"host", b"client")], host=b"")
    assert head == b"GET /items/1 HTTP/1.1\r\nhost: client\r\n\r\n"


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("place", ["name", "value", "target", "query"])
def test_s6_a_line_end_inside_it_is_never_sent(exchange_of, end, place):
    exchange = exchange_of()
    bad = b"a" + end + b"b: c"
    pair = (bad if place == "name" else b"x", bad if place == "value" else b"y")
    if place == "target":
        exchange.target = bad
    if place == "query":
        exchange.query = bad
    with pytest.raises(UpstreamError) as caught:
        head_of(exchange, [pair])
    assert caught.value.kind == "proxy_internal_error"


@pytest.mark.parametrize(
    ("now", "left"), [(0.0, b"15000"), (0.2504, b"14749"), (14.9995, b"1"), (20.0, b"1")]
)
def test_the_time_that_is_left_is_told_in_milliseconds(exchange_of, now, left):
    assert time_left(exchange_of(timeout=15.0), now) == ((b"x-request-timeout-ms", left),)


def test_where_there_is_no_limit_nothing_is_told(exchange_of):
    exchange = exchange_of(timeout=0.0)
    assert time_left(exchange, 1.0) == ()
    exchange.pipeline = None
    assert time_left(exchange, 1.0) == ()


async def test_the_client_s_own_word_on_time_is_dropped(bench, origin):
    client = bench().start(headers=[(b"x-request-timeout-ms", b"999999"), (b"x_request-timeout_ms", b"1")])
    _, request = await origin.answer()
    await client.done()
    assert request.lower().count(b"timeout") == 1
    assert b"\r\nx-request-timeout-ms: 15000\r\n" in request


async def started(there, exchange, origin):
    """The request as the instance gets it."""
    client = there.start()
    client.leg.cancel()
    there.upstream.start(exchange, client, body=False)
    peer = await origin.peer()
    while not (request := await peer.request()):
        peer = await origin.peer()
    client.leg.cancel()
    return request


async def test_a_request_without_a_host_gets_the_instance_s(bench, origin, exchange_of):
    exchange = exchange_of(version="1.0")
    exchange.headers, exchange.found = [], {}
    request = await started(bench(pass_host=True), exchange, origin)
    assert b"\r\nhost: " + origin.name.encode() + b"\r\n" in request


async def test_a_host_that_a_policy_has_put_in_is_not_sent_beside_the_instance_s(bench, origin, exchange_of):
    exchange = exchange_of()
    exchange.headers = [(b"host", b"elsewhere.example")]
    request = await started(bench(), exchange, origin)
    assert request.count(b"host: ") == 2  # the other one is x-forwarded-host
    assert b"elsewhere" not in request


def sent_by(leg, pool):
    """The head that a leg sends."""
    return usual_head(leg._exchange, pool) or leg._head(pool)


def of_a_connection(exchange_of, headers, **more):
    """Two exchanges of one client's connection, the second one as our own server makes it."""
    known = KnownHeader([(b"host", b"shop.example"), *headers])
    for _ in range(2):
        exchange = exchange_of(headers=headers, **more)
        exchange.known, exchange.found, exchange.headers = known, known.found, known.kept
        exchange.pipeline.foreign = False
        yield exchange


def lines_of(head):
    assert head.endswith(b"\r\n\r\n")
    line, *fields = head[:-4].split(b"\r\n")
    return line, sorted(fields)


@pytest.mark.parametrize("pass_host", [True, False])
@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ([(b"accept", b"*/*"), (b"accept", b"a/b"), (b"x-a", b"")], {}),
        ([(b"x-a", b"1")], {"timeout": 0.0}),
        ([(b"x-a", b"1")], {"method": "DELETE"}),
        ([(b"tracestate", b"a=1")], {}),
        ([(b"expect", b"100-continue"), (b"content-length", b"3")], {"version": "1.0"}),
    ],
)
async def test_the_head_of_a_known_header_is_the_one_that_is_made_from_scratch(
    bench, exchange_of, headers, more, pass_host
):
    there = bench(pass_host=pass_host)
    pool = there.upstream.pool_of(there.instance)
    plain = exchange_of(headers=headers, **more)
    exchanges = [plain, *of_a_connection(exchange_of, headers, **more)]
    legs = [there.upstream.leg(exchange, None, body=False, headers=None) for exchange in exchanges]
    for leg in legs:
        leg._exchange.request_id, leg._exchange.correlation_id = "1", "2"
        leg._exchange.ids = b"x-request-id: 1\r\nx-correlation-id: 2\r\n"
        leg._exchange.via, leg._exchange.forwarded_for = plain.via, plain.forwarded_for
        leg._exchange.query = b"a=1"
        leg._exchange.began = 0.0
    first, *rest = [lines_of(sent_by(leg, pool)) for leg in legs]
    assert rest == [first, first]


async def test_what_differs_from_one_request_to_the_next_is_never_the_one_before_s(bench, exchange_of):
    there = bench("http://10.0.0.1:1", "http://10.0.0.2:2")
    pools = [there.upstream.pool_of(instance) for instance in there.cluster.instances]
    one, two = of_a_connection(exchange_of, [(b"x-a", b"1")])
    two.request_id, two.correlation_id = "r-2", "c-2"
    two.ids = b"x-request-id: r-2\r\nx-correlation-id: c-2\r\n"
    two.via = (b"via", b"1.0 other")
    two.forwarded_for = (b"x-forwarded-for", b"198.51.100.1")
    two.traceparent = b"00-" + b"c" * 32 + b"-" + b"d" * 16 + b"-01"
    heads = []
    for exchange, pool in zip((one, two, two), (*pools, pools[0]), strict=True):
        leg = there.upstream.leg(exchange, None, body=False, headers=None)
        leg._exchange.began = 0.0
        heads.append(sent_by(leg, pool))
    for word in (b"10.0.0.2:2", b"r-2", b"c-2", b"1.0 other", b"198.51.100.1", b"c" * 32):
        assert word not in heads[0]
        assert word in heads[1]
    assert b"host: 10.0.0.1:1\r\n" in heads[2]


@pytest.mark.parametrize("target", [b"/a\nx: y", b"/a\r\nx: y", b"/a\r"])
@pytest.mark.parametrize("place", ["target", "query"])
async def test_s6_a_line_end_inside_a_target_is_never_sent_with_a_known_header_either(
    bench, exchange_of, target, place
):
    there = bench()
    _, exchange = of_a_connection(exchange_of, [(b"x-a", b"1")])
    setattr(exchange, place, target)
    leg = there.upstream.leg(exchange, None, body=False, headers=None)
    leg._exchange.began = 0.0
    with pytest.raises(UpstreamError) as caught:
        sent_by(leg, there.upstream.pool_of(there.instance))
    assert caught.value.kind == "proxy_internal_error"


@pytest.mark.parametrize("change", ["headers", "found", "trusted", "foreign"])
async def test_what_a_policy_has_changed_is_sent_as_it_is_now(bench, exchange_of, change):
    there = bench()
    pool = there.upstream.pool_of(there.instance)
    one, two = of_a_connection(exchange_of, [(b"x-a", b"1")])
    if change == "headers":
        two.headers = [(b"host", b"shop.example"), (b"x-b", b"2")]
    elif change == "found":
        two.found = {**two.found, b"tracestate": b"a=1"}
    elif change == "trusted":
        two.trusted = True
        two.found = {**two.found, b"x-forwarded-for": b"192.0.2.9"}
    else:
        two.pipeline.foreign, two.path = True, b"/"
        two.target = b"/\r\nx: y"
    heads = []
    for exchange in (one, two):
        leg = there.upstream.leg(exchange, None, body=False, headers=None)
        leg._exchange.began = 0.0
        try:
            heads.append(sent_by(leg, pool))
        except UpstreamError:
            heads.append(b"refused")
    expected = {
        "headers": b"x-b: 2",
        "found": b"tracestate: a=1",
        "trusted": b"192.0.2.9",
        "foreign": b"refused",
    }
    assert expected[change] in heads[1]
    assert expected[change] not in heads[0]
