"""The short path: tunnels, and what takes another path."""

from __future__ import annotations

from micro.gateway.upstream.local import LocalUpstream
from micro.spec.gateway import Route

GET = b"GET /a?b=c HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n\r\n"
WEBSOCKET = (
    b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


# Tunnels.


async def test_a_websocket_becomes_a_tunnel(client):
    leg = client.send(WEBSOCKET + b"early")
    leg.downstream.head(101, [(b"sec-websocket-accept", b"x")], None)
    head, _, rest = (await client.next()).partition(b"\r\n\r\n")
    assert head.startswith(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    )
    assert b"sec-websocket-accept: x" in head
    assert rest == b""
    assert leg.done == [b"early"]
    client.send(b"up")
    leg.downstream.feed(b"down")
    assert leg.done == [b"early", b"up"]
    assert await client.next() == b"down"
    await client.wait(1000.0)
    client.protocol.look(10_000)
    assert client.transport.state == "open"
    leg.downstream.end()
    assert client.transport.state in {"closed", "half closed"}
    assert [(record.status, record.bytes) for record in client.log] == [(101, 4)]


async def test_a_client_that_ends_a_tunnel_ends_it_for_both(client):
    leg = client.send(WEBSOCKET)
    leg.downstream.head(101, [], None)
    leg.downstream.feed(b"down")
    assert not client.protocol.eof_received()
    assert leg.done == ["end"]
    leg.downstream.feed(b"late")
    leg.downstream.end()
    assert (await client.next()).endswith(b"down")
    assert client.transport.state == "closed"
    assert [(record.status, record.bytes) for record in client.log] == [(101, 4)]


async def test_a_tunnel_that_breaks_breaks_the_connection(client):
    leg = client.send(WEBSOCKET)
    leg.downstream.head(101, [], None)
    leg.fail()
    assert client.transport.state == "aborted"
    assert len(client.log) == 1


async def test_a_client_that_leaves_a_tunnel_ends_it(client):
    leg = client.send(WEBSOCKET)
    leg.downstream.head(101, [], None)
    client.protocol.connection_lost(None)
    assert leg.done == ["cancel"]


async def test_shutting_down_has_tunnels_ended_by_those_who_know_their_frames(client):
    leg = client.send(WEBSOCKET)
    leg.downstream.head(101, [], None)
    client.protocol.shutdown()
    assert leg.done == ["close"]
    leg.downstream.feed(b"going away")
    leg.downstream.end()
    assert (await client.next()).endswith(b"going away")
    assert client.transport.state == "half closed"
    client.protocol.shutdown()


async def test_a_request_in_hand_is_finished_when_shutting_down(client):
    leg = client.send(GET)
    client.protocol.shutdown()
    leg.answer()
    assert b"connection: close" in await client.next()
    assert client.transport.state == "closed"


# What has no short path.


def mixed(echo):
    return {"others": {"near": LocalUpstream(echo)}}


ROUTES = [
    Route(path="/far", service="far"),
    Route(path="/near", service="near", rate_limit=None),
    Route(path="/shut", service="near", auth="required"),
]


async def test_other_requests_go_to_the_application_and_pass_each_policy_once(gate, echo):
    from micro.spec.terms import Rate

    client = gate(routes=ROUTES, others={"near": LocalUpstream(echo)}, rate_limit=Rate(2, 60.0))
    statuses = []
    for _ in range(3):
        client.send(GET.replace(b"/a", b"/near"))
        statuses.append((await client.next())[9:12])
    assert statuses == [b"200", b"200", b"429"]
    assert len(client.log) == 3
    assert echo.sent("x-request-id") == [client.log[1].request_id]


async def test_the_gateways_own_endpoints_are_the_applications(gate):
    client = gate()
    client.send(GET.replace(b"/a?b=c", b"/health"))
    assert b'"status":"healthy"' in await client.next()


async def test_a_policy_may_wait_there_too(gate, echo):
    client = gate(routes=ROUTES, others={"near": LocalUpstream(echo)})
    shut = GET.replace(b"/a", b"/shut").replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer %b\r\n\r\n")
    client.send(shut % b"fresh")
    assert (await client.next()).endswith(b"hello")
    client.send(shut % b"stale")
    client.problem(await client.next(), 401)
    assert [record.status for record in client.log] == [200, 401]


async def test_without_any_short_path_nothing_is_admitted_twice(gate, echo):
    client = gate(routes=ROUTES[1:], others={"near": LocalUpstream(echo)})
    client.send(GET.replace(b"/a", b"/near"))
    assert (await client.next()).endswith(b"hello")
    assert len(client.log) == 1


class Taker:
    """A WebSocket protocol class that runs the app with a scope of its own."""

    def __init__(self, config, server_state, app_state):
        self.app = config.loaded_app
        self.sent = []
        Taker.last = self

    def connection_made(self, transport):
        pass

    def data_received(self, data):
        self.head = data


async def test_a_websocket_for_the_application_is_handed_over_as_it_was_admitted(gate, echo):
    client = gate(routes=ROUTES, others={"near": LocalUpstream(echo)})
    client.port.config.ws_protocol_class = Taker
    client.send(WEBSOCKET.replace(b"/a", b"/near"))
    sent = []

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    client.bench.gateway.upstreams["near"].replace(app)

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message["type"])

    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/near",
        "raw_path": b"/near",
        "query_string": b"b=c",
        "headers": [(b"host", b"localhost")],
        "client": ("203.0.113.7", 50123),
    }
    await Taker.last.app(scope, receive, send)
    assert sent == ["websocket.accept", "websocket.close"]
    assert len(client.log) == 1
    assert client.log[0].path == "/near"


async def test_a_path_that_is_none_is_400(client):
    client.send(GET.replace(b"/a", b"/%zz"))
    client.problem(await client.next(), 400)
