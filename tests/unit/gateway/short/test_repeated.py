"""Requests and answers that come again on a connection: what is asked anew, and what is not."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from micro.gateway.exchange import Answer
from micro.gateway.upstream.answer import KnownAnswer
from micro.spec.gateway import Cors, GatewaySpec, HeaderChanges, RateRule, Route
from micro.spec.terms import Rate

GET = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"
OTHER = GET.replace(b"/a", b"/b")


class Counting:
    """Lets everything pass, and counts what it was shown."""

    seen: list[bytes] = []  # noqa: RUF012 # the tests read it

    def on_request(self, exchange):
        self.seen.append(exchange.path)


class ByHead(Counting):
    """Looks at heads alone."""

    by_head = True


class Refusing(ByHead):
    """Says no to what it is shown."""

    def on_request(self, exchange):
        super().on_request(exchange)
        return Answer(204)


@pytest.fixture(autouse=True)
def shop(monkeypatch):
    module = ModuleType("shop")
    module.Counting, module.ByHead, module.Refusing = Counting, ByHead, Refusing
    monkeypatch.setitem(sys.modules, "shop", module)
    Counting.seen.clear()


@pytest.fixture
def told():
    """What a client gets for each of its requests once that has been answered."""

    async def tell(client, *requests):
        answers = []
        for request in requests:
            before = len(client.upstream.legs)
            client.send(request)
            if len(client.upstream.legs) > before:
                client.leg.answer()
            answers.append(await client.next())
        return answers

    return tell


def with_policy(name, **spec):
    return {"routes": [Route(path="/", service="far", policies=(f"shop:{name}",))], **spec}


async def test_a_policy_that_reads_heads_alone_is_not_shown_the_same_one_again(gate, told):
    client = gate(**with_policy("ByHead"))
    await told(client, GET, GET, GET)
    shown = len(Counting.seen)
    await told(client, GET, GET)
    assert len(Counting.seen) == shown < 5


async def test_every_other_policy_is_shown_every_request(gate, told):
    await told(gate(**with_policy("Counting")), GET, GET, GET, OTHER, OTHER)
    assert Counting.seen == [b"/a"] * 3 + [b"/b"] * 2


async def test_another_head_is_shown_though_its_fields_are_the_same(gate, told):
    await told(gate(**with_policy("ByHead")), GET, GET, GET, OTHER)
    assert Counting.seen[-1] == b"/b"


async def test_what_such_a_policy_refuses_it_refuses_every_time(gate, told):
    answers = await told(gate(**with_policy("Refusing")), GET, GET, GET)
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 204"] * 3
    assert Counting.seen == [b"/a"] * 3


async def test_a_new_plan_is_asked_anew(gate, told):
    client = gate(**with_policy("ByHead"))
    await told(client, GET, GET, GET)
    client.bench.gateway.reconfigure(GatewaySpec(routes=(Route(path="/b", service="far"),)))
    (answer,) = await told(client, GET)
    client.problem(answer, 404)


async def test_a_repeated_request_has_ids_of_its_own_and_counts(gate, told):
    client = gate(rate_limit=Rate(3, 60.0))
    answers = await told(client, GET, GET, GET, GET)
    assert [b"r=%d" % left in answer for left, answer in zip((2, 1, 0), answers, strict=False)] == [True] * 3
    client.problem(answers[-1], 429)
    assert len({record.request_id for record in client.log}) == 4


async def test_a_repeated_request_has_its_time_again(gate, told):
    client = gate(routes=[Route(path="/", service="far", timeout=5.0)])
    await told(client, GET, GET)
    client.send(GET)
    await client.wait(4.5)
    assert client.written == b""
    await client.wait(1.0)
    client.problem(client.written, 504)


async def test_routes_with_less_time_keep_it_on_the_same_connection(gate, told):
    client = gate(
        routes=[
            Route(path="/", service="far", timeout=50.0),
            Route(path="/b", service="far", timeout=5.0),
        ]
    )
    await told(client, GET)
    client.send(OTHER)
    await client.wait(5.5)
    client.problem(client.written, 504)


async def test_a_deadline_is_forgotten_with_its_connection(gate, told):
    client = gate()
    await told(client, GET)
    client.protocol.connection_lost(None)
    wheel = client.bench.gateway._parts.wheel
    assert not any(wheel._slots.values())


def known(*fields, status=200, body=b"hello"):
    """An answer as an instance's connection remembers it."""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    length = (b"content-length", b"%d" % len(body))
    return KnownAnswer(head, len(head) + len(body), status, [*fields, length])


async def answered(client, answer, *, body=b"hello", request=GET):
    leg = client.send(request)
    leg.exchange.known_answer = answer
    client.upstream.legs[-1].downstream.head(answer.status, answer.fields.copy(), len(body), body=body)
    return await client.next()


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"security_headers": True, "rate_limit": Rate(9, 1.0)},
        {"rate_limit": Rate(9, 1.0), "rate_limits": (RateRule(limit=Rate(8, 60.0)),)},
    ],
)
async def test_an_answer_known_is_sent_as_one_that_is_not(gate, spec):
    client = gate(**spec)
    answer = known((b"server", b"x"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
    texts = [await answered(client, answer, body=body) for body in (b"hello", b"other")]
    leg = client.send(GET)
    leg.downstream.head(200, answer.fields.copy(), 5, body=b"third")
    texts.append(await client.next())
    heads = [
        sorted(
            line.partition(b"; r=")[0].partition(b";r=")[0]
            for line in text.partition(b"\r\n\r\n")[0].split(b"\r\n")
            if not line.startswith((b"x-request-id", b"x-correlation-id"))
        )
        for text in texts
    ]
    assert heads[0] == heads[1] == heads[2]
    assert [text[-5:] for text in texts] == [b"hello", b"other", b"third"]
    assert len({text.partition(b"x-request-id: ")[2][:36] for text in texts}) == 3


async def test_what_the_instance_says_of_security_stands_for_known_answers_too(gate):
    client = gate(security_headers=True)
    answer = known((b"x-frame-options", b"DENY"))
    for _ in range(2):
        text = await answered(client, answer)
        assert text.count(b"x-frame-options") == 1
        assert b"x-frame-options: DENY\r\n" in text
        assert text.count(b"nosniff") == 1


async def test_routes_that_share_an_instance_do_not_share_what_their_policies_add(gate):
    client = gate(
        routes=[
            Route(path="/", service="far"),
            Route(path="/b", service="far", response_headers=HeaderChanges(set={"x-b": "1"})),
        ]
    )
    answer = known((b"server", b"x"))
    texts = [await answered(client, answer, request=request) for request in (GET, OTHER, GET, OTHER)]
    assert [b"x-b: 1" in text for text in texts] == [False, True, False, True]


async def test_origins_are_told_of_known_answers_too(gate):
    client = gate(cors=Cors(origins=("https://a.example",)))
    answer = known((b"server", b"x"))
    own = GET[:-2] + b"Origin: https://a.example\r\n\r\n"
    texts = [await answered(client, answer, request=request) for request in (GET, own, GET)]
    assert [b"access-control-allow-origin" in text for text in texts] == [False, True, False]


async def test_the_date_is_never_an_old_one(gate):
    client, answer = gate(), known()
    assert b"date: today" in await answered(client, answer)
    client.port.state.default_headers = [(b"date", b"tomorrow")]
    assert b"date: tomorrow" in await answered(client, answer)


async def test_a_last_answer_says_so_though_it_is_known(gate):
    client, answer = gate(), known()
    await answered(client, answer)
    client.protocol.retire()
    assert b"connection: close\r\n" in await answered(client, answer)
    assert client.transport.state == "closed"


LINES = [
    b"GET /a/2?q=1 HTTP/1.1",
    b"GET /a?q=1&q=2 HTTP/1.1",
    b"GET /a/%7Eb HTTP/1.1",
    b"GET /a/%2e%2e/b HTTP/1.1",
    b"GET /a/../b HTTP/1.1",
    b"GET /a/..;/b HTTP/1.1",
    b"GET /a/. HTTP/1.1",
    b"GET /a/.well-known/b.json HTTP/1.1",
    b"GET /a/v1.0/b.json HTTP/1.1",
    b"GET /a%2Fb HTTP/1.1",
    b"GET /health HTTP/1.1",
    b"GET /b HTTP/1.1",
    b"GET /c HTTP/1.1",
    b"POST /c HTTP/1.1",
    b"GET /d?q=1 HTTP/1.1",
    b"GET /d?q=1&q=2 HTTP/1.1",
    b"GET /none HTTP/1.1",
    b"HEAD /a HTTP/1.1",
    b"POST /a HTTP/1.1",
    b"OPTIONS /a HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"TRACE /a HTTP/1.1",
]
"""Requests with the same fields as `GET`."""


@pytest.mark.parametrize("line", LINES)
async def test_another_request_with_the_same_fields_is_treated_as_on_a_connection_of_its_own(
    gate, told, line
):
    routes = [
        Route(path="/a", service="far", max_body=9),
        Route(path="/b", service="far", max_body=8, timeout=2.0),
        Route(path="/c", service="far", methods=("POST",)),
        Route(path="/d", service="far", query={"q": "1"}),
    ]
    treated = []
    for before in ([], [GET, GET, GET, GET.replace(b"/a", b"/a/1"), GET.replace(b"/a", b"/d?q=1")]):
        client = gate(routes=routes)
        await told(client, *before)
        (answer,) = await told(client, GET.replace(b"GET /a HTTP/1.1", line))
        new = [leg.exchange for leg in client.upstream.legs[len(before) :]]
        went = [
            (
                each.method,
                each.target,
                each.query,
                each.form,
                each.body_limit,
                each.pipeline.timeout,
            )
            for each in new
            if each.via == client.upstream.legs[0].exchange.via
        ]
        treated.append((answer.partition(b"\r\n")[0], went))
    assert treated[0] == treated[1]


async def test_what_is_known_of_fields_is_known_by_route_and_not_without_bound(gate, told):
    routes = [Route(path=f"/{number}", service="far") for number in range(20)]
    client = gate(routes=routes)
    for number in range(20):
        await told(client, *[GET.replace(b"/a", b"/%d/%d" % (number, again)) for again in range(2)])
        ways = client.protocol.known.fields.extra.ways
        assert len(ways) <= 16
        assert ways[client.leg.exchange.pipeline].pipeline is client.leg.exchange.pipeline


async def test_fields_that_are_refused_are_refused_with_every_path(gate, told):
    client = gate()
    await told(client, GET, OTHER)
    for path in (b"/a", b"/b", b"/c"):
        bad = GET.replace(b"/a", path).replace(b"localhost", b"elsewhere.example")
        (answer,) = await told(client, bad)
        client.problem(answer, 400)
