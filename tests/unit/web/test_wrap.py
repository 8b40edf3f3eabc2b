"""What every service's app gets from the wrapper around it."""

from __future__ import annotations

import asyncio
import logging

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from micro.context import Context, current
from micro.ids import is_id
from micro.telemetry.metrics import Metrics
from micro.testing import AsgiClient
from micro.web.api import Api
from micro.web.fields import PEER
from micro.web.hosts import Hosts
from micro.web.problems import Problem
from micro.web.wrap import ServiceApp

CONTEXT = Context("corr", "req", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "req")


async def seen(request: Request):
    context = current.get()
    return JSONResponse({"service": request.state.micro.name, "request_id": context.request_id})


async def echo(request: Request):
    return PlainTextResponse(await request.body(), headers={"X-Request-ID": "mine", "X-A": "b"})


async def link(request: Request):
    return PlainTextResponse(str(request.url_for("link")))


async def fail(request: Request):
    raise ZeroDivisionError("secret")


async def refuse(request: Request):
    raise Problem(418, detail="Teapot.")


async def talk(websocket):
    await websocket.accept()
    await websocket.send_json({"service": websocket.state.micro.name})
    await websocket.close()


FOREIGN = Starlette(
    routes=[
        Route("/seen", seen),
        Route("/echo", echo, methods=["GET", "POST"]),
        Route("/fail", fail),
        Route("/link", link),
        Route("/health", lambda request: PlainTextResponse("its own")),
        WebSocketRoute("/talk", talk),
    ]
)


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def wrap(resources, metrics):
    def make(app, **options):
        return ServiceApp(app, resources, **{"metrics": metrics, "ready": lambda: None, **options})

    return make


@pytest.fixture
def client(wrap):
    return AsgiClient(wrap(FOREIGN))


async def test_resources_and_context_reach_any_app(client):
    """Nothing in the app has to be ours."""
    answer = await client.get("/seen")
    assert answer.json() == {"service": "shop", "request_id": answer.headers["x-request-id"]}


@pytest.mark.parametrize("said", ["https", "wss"])
async def test_links_that_the_app_makes_have_the_scheme_that_our_gateway_tells(client, verifier, said):
    """A stranger's word doesn't count."""
    proof = {PEER.decode(): verifier.token("gateway", kind="service")}
    told = {"x-forwarded-proto": said}
    links = [(await client.get("/link", headers=headers)).body for headers in (told, proof, told | proof)]
    assert [link.partition(b":")[0] for link in links] == [b"http", b"http", b"https"]


async def test_the_ids_are_echoed(client):
    """Those that were made or taken."""
    answer = await client.get("/seen", headers={"x-correlation-id": "mine"})
    assert is_id(answer.headers["x-request-id"])
    assert answer.headers["x-correlation-id"] == "mine"


async def test_an_apps_own_ids_are_replaced(client):
    """The field comes once."""
    answer = await client.get("/echo")
    names = [name for name, _ in answer.raw_headers]
    assert names.count(b"x-request-id") == 1
    assert answer.headers["x-request-id"] != "mine"
    assert answer.headers["x-a"] == "b"


async def test_behind_a_gateway_in_this_process_its_context_is_used(wrap):
    """And the gateway echoes the ids itself."""
    client = AsgiClient(wrap(FOREIGN), extensions={"micro.context": CONTEXT})
    answer = await client.get("/seen")
    assert answer.json()["request_id"] == "req"
    assert "x-request-id" not in answer.headers


async def test_the_context_does_not_outlive_the_request(wrap):
    """A caller in the same task goes on with its own."""
    app = wrap(FOREIGN)
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/seen",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
    }
    await app(scope, None, send)
    assert sent[0]["status"] == 200
    assert current.get() is None


async def test_an_unknown_host_is_400(wrap):
    """On a service's port too."""
    answer = await AsgiClient(wrap(FOREIGN), headers={"host": "evil.example"}).get("/seen")
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_the_stack_itself_is_believed_and_may_use_any_host(wrap, resources):
    """Its gateway has looked at the request already."""
    seen = []

    async def app(scope, receive, send):
        seen.append((dict(scope["headers"]), scope["client"]))
        await PlainTextResponse("")(scope, receive, send)

    token = resources.verifier.token("gateway", kind="service")
    headers = {
        "host": "10.0.0.1:9000",
        "x-user-id": "ada",
        "x-forwarded-for": "203.0.113.7",
        "x-request-id": "r-1",
    }
    client = AsgiClient(wrap(app), headers=headers)
    assert (await client.get("/seen")).status == 400
    answer = await client.get("/seen", headers={"x-micro-peer": token})
    assert (answer.status, answer.headers["x-request-id"]) == (200, "r-1")
    [(fields, sender)] = seen
    assert fields[b"x-user-id"] == b"ada"
    assert b"x-micro-peer" not in fields
    assert sender == ("203.0.113.7", 0)


async def test_a_stranger_s_word_on_the_user_does_not_reach_the_app(wrap):
    """In development and in production alike."""

    async def app(scope, receive, send):
        await JSONResponse([name.decode() for name, _ in scope["headers"]])(scope, receive, send)

    answer = await AsgiClient(wrap(app), headers={"x-user-id": "ada", "remote-user": "ada", "x-a": "1"}).get(
        "/"
    )
    assert answer.json() == ["host", "x-a"]


async def test_health_answers_to_any_host(wrap):
    """Probes know no names."""
    client = AsgiClient(wrap(FOREIGN), headers={"host": "10.0.0.1"})
    assert [(await client.get(path)).status for path in ("/health", "/health/ready")] == [200, 200]
    assert (await client.get("/metrics")).status == 400


async def test_configured_hosts_are_answered(wrap):
    """The same rule as the gateway's."""
    client = AsgiClient(wrap(FOREIGN, hosts=Hosts(["shop.example"])), headers={"host": "shop.example"})
    assert (await client.get("/seen")).status == 200


async def test_the_host_was_checked_by_the_gateway_in_front(wrap):
    """A call inside the process is not checked again."""
    client = AsgiClient(wrap(FOREIGN), headers={"host": "shop"}, extensions={"micro.context": CONTEXT})
    assert (await client.get("/seen")).status == 200


async def test_health_is_ours(client):
    """The same everywhere, whatever the app has."""
    answer = await client.get("/health")
    assert answer.json()["status"] == "healthy"
    assert answer.json()["service"] == "shop"


@pytest.mark.parametrize(("reason", "status"), [(None, 200), ("starting", 503)])
async def test_readiness_is_what_the_runner_says(wrap, reason, status):
    """With the reason."""
    answer = await AsgiClient(wrap(FOREIGN, ready=lambda: reason)).get("/health/ready")
    assert answer.status == status
    assert answer.json().get("reason") == reason


async def test_head_of_our_pages_has_no_body(client):
    """As of any page."""
    answer = await client.request("HEAD", "/health")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/metrics"])
async def test_our_pages_are_only_read(client, path):
    """405 with Allow."""
    answer = await client.post(path, json={})
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_requests_are_counted(client):
    """By method and status, with their duration."""
    await client.get("/seen")
    await client.get("/seen")
    await client.get("/nothing")
    text = (await client.get("/metrics")).body.decode()
    assert 'micro_requests_total{service="shop",method="GET",status="200"} 2' in text
    assert 'micro_requests_total{service="shop",method="GET",status="404"} 1' in text
    assert 'micro_request_seconds_count{service="shop"} 3' in text


async def test_invented_methods_are_counted_as_one(client):
    """A client can't fill the memory with names."""
    for number in range(50):
        await client.request(f"M{number}", "/seen")
    text = (await client.get("/metrics")).body.decode()
    assert 'method="other",status="405"} 50' in text
    assert "M1" not in text


async def test_metrics_are_for_this_machine(wrap):
    """Unless they are made public."""
    far = {"client": ("192.0.2.1", 1)}
    assert (await AsgiClient(wrap(FOREIGN), extensions=far).get("/metrics")).status == 403
    public = wrap(FOREIGN, metrics_public=True)
    assert (await AsgiClient(public, extensions=far).get("/metrics")).status == 200


async def test_a_bug_in_any_app_is_a_500_problem(client, caplog):
    """Starlette answers by itself and raises; a bare app only raises. Nothing of the error shows."""
    with caplog.at_level(logging.ERROR):
        answer = await client.get("/fail")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "ZeroDivisionError" in caplog.text


async def test_a_bare_apps_exception_is_a_500_problem(wrap, caplog):
    """With the request id."""

    async def app(scope, receive, send):
        raise ZeroDivisionError("secret")

    with caplog.at_level(logging.ERROR):
        answer = await AsgiClient(wrap(app)).get("/")
    assert answer.status == 500
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "ZeroDivisionError" in caplog.text


async def test_a_problem_raised_by_any_app_is_answered(wrap):
    """Also by those that don't know us."""

    async def app(scope, receive, send):
        raise Problem(418, detail="Teapot.")

    answer = await AsgiClient(wrap(app)).get("/")
    assert (answer.status, answer.json()["detail"]) == (418, "Teapot.")


async def test_an_exception_in_the_middle_of_an_answer_breaks_the_connection(wrap):
    """A clean end would make half an answer look whole."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ZeroDivisionError

    with pytest.raises((ZeroDivisionError, ConnectionError)):
        await AsgiClient(wrap(app)).get("/")


async def test_an_exception_after_the_answer_is_logged(wrap, caplog):
    """The client has what it needs."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR):
        answer = await AsgiClient(wrap(app)).get("/")
    assert answer.body == b"whole"
    assert "shop failed after its answer" in caplog.text


async def test_a_client_that_has_gone_is_no_error(wrap, caplog):
    """Nothing is answered and nothing is logged."""

    async def app(scope, receive, send):
        raise ClientDisconnect

    with caplog.at_level(logging.WARNING), pytest.raises(ConnectionError):
        await AsgiClient(wrap(app)).get("/")
    assert not caplog.records


async def test_a_cancelled_request_is_cancelled(wrap):
    """A deadline in front of the app reaches it."""
    started = asyncio.Event()

    async def app(scope, receive, send):
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(AsgiClient(wrap(app)).get("/"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_apps_own_documentation_wins(wrap):
    """As for FastAPI."""

    async def own(request):
        return JSONResponse({"own": True})

    app = Starlette(routes=[Route("/openapi.json", own), Route("/docs", own)])
    client = AsgiClient(wrap(app))
    assert (await client.get("/openapi.json")).json() == {"own": True}
    assert (await client.get("/docs")).json() == {"own": True}


async def test_an_app_without_documentation_gets_a_page(client):
    """With an empty document: nothing is known of its operations."""
    assert (await client.get("/openapi.json")).json() == {
        "openapi": "3.1.0",
        "info": {"title": "shop", "version": "0"},
        "paths": {},
    }
    assert b'data-url="/openapi.json"' in (await client.get("/docs")).body
    assert (await client.get("/docs/swagger.css")).status == 200
    assert (await client.request("HEAD", "/docs")).body == b""


async def test_documentation_is_only_read(client):
    """Another method is the app's business."""
    assert (await client.post("/docs", json={})).status == 404


async def test_our_own_apis_serve_their_documentation(wrap):
    """Through the same wrapper."""
    client = AsgiClient(wrap(Api("shop", version="7").app))
    assert (await client.get("/openapi.json")).json()["info"]["version"] == "7"


async def test_bodies_stream_both_ways(wrap):
    """Nothing is gathered on the way."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})
            if not more:
                return

    async with AsgiClient(wrap(app)).stream("POST", "/", body=[b"a", b"b", b"c"]) as answer:
        assert [chunk async for chunk in answer.chunks()] == [b"a", b"b", b"c"]


async def websocket(app, host=b"localhost", path="/talk"):
    sent = []
    waiting = iter([{"type": "websocket.connect"}])

    async def receive():
        return next(waiting)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", host)],
        "subprotocols": [],
    }
    await app(scope, receive, send)
    return sent


async def test_websockets_reach_the_app_with_resources(wrap):
    """They are the app's business."""
    sent = await websocket(wrap(FOREIGN))
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert "shop" in sent[1]["text"]


async def test_a_websocket_to_an_unknown_host_is_refused(wrap):
    """Before the app sees it."""
    sent = await websocket(wrap(FOREIGN), host=b"evil.example")
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_the_lifespan_is_the_apps(wrap):
    """Run once, by the runner."""
    events = []

    async def app(scope, receive, send):
        events.append(scope["type"])

    await wrap(app)({"type": "lifespan"}, None, None)
    assert events == ["lifespan"]


async def test_lifespan_state_stays_beside_the_resources(wrap, resources):
    """And isn't written to: every request has its own."""
    shared = {"pool": 1}
    states = []

    async def app(scope, receive, send):
        states.append(scope["state"])
        await PlainTextResponse("x")(scope, receive, send)

    await AsgiClient(wrap(app), extensions={"state": shared}).get("/")
    assert states == [{"pool": 1, "micro": resources}]
    assert shared == {"pool": 1}
