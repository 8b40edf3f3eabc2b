"""Routes do what they say on either way through the gateway: to a service of this process, and over the network."""

from __future__ import annotations

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ECHO = """
import json

async def app(scope, receive, send):
    seen = {"path": scope["raw_path"].decode(), "headers": [[n.decode(), v.decode()] for n, v in scope["headers"]]}
    body = json.dumps(seen).encode()
    head = [(b"content-length", b"%d" % len(body)), (b"server", b"echo"), (b"x-kept", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})
"""

EXTRAS = """
from micro.gateway import refuse

class Tenants:
    def __init__(self, route):
        self.path = route.path.encode()

    async def on_request(self, exchange):
        if b"x-tenant" not in exchange.found:
            return refuse(exchange, 403, detail="Name a tenant.")

    def on_response(self, exchange):
        exchange.fields.append((b"x-route", self.path))

class Shout:
    def on_response(self, exchange):
        return Upper()

class Upper:
    def feed(self, data):
        return data.upper()

    def end(self):
        return b"!"

class Timing:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def timed(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-timing", b"1")]
            await send(message)
        await self.app(scope, receive, timed)
"""

ROUTES = """
[[gateway.routes]]
path = "/api"
service = "echo"
strip_prefix = true
request_headers = { remove = ["cookie"], set = { x-tenant = "ours" }, add = { accept = "text/x" } }
response_headers = { remove = ["server"], set = { x-stage = "test" } }
[[gateway.routes]]
path = "/old"
service = "echo"
rewrite = "/new"
[[gateway.routes]]
path = "/same"
service = "echo"
rewrite = "/plain"
[[gateway.routes]]
path = "/same"
service = "echo"
host = "*.example.com"
headers = { x-version = "2" }
query = { beta = "*" }
rewrite = "/special"
[[gateway.routes]]
path = "/only"
service = "echo"
exact = true
methods = ["GET"]
[[gateway.routes]]
path = "/tenants"
service = "echo"
policies = ["extras:Tenants"]
[[gateway.routes]]
path = "/loud"
service = "echo"
policies = ["extras:Shout"]
[[gateway.routes]]
path = "/timed"
service = "echo"
middleware = ["extras:Timing"]
"""


class Origin(BaseHTTPRequestHandler):
    """A server elsewhere that tells what it was sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = [[name.lower(), value] for name, value in self.headers.items()]
        body = json.dumps({"path": self.path.partition("?")[0], "headers": headers}).encode()
        self.send_response_only(200)
        for name, value in (("Content-Length", str(len(body))), ("Server", "echo"), ("X-Kept", "1")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["app", "url"])
def stack(request: Any, start: Any, write: Any, origin: str) -> Any:
    kind = f'url = "{origin}"\nhealth = "/up"' if request.param == "url" else 'app = "echo:app"'
    write(f"[services.echo]\n{kind}\n{ROUTES}", echo=ECHO, extras=EXTRAS)
    stack = start("--no-reload").until_ready()
    stack.short = request.param == "url"
    return stack


class Seen:
    """An answer, and what the service was sent."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.head = answer.headers
        self.body = answer.read().decode()

    def sent(self, name: str) -> list[str]:
        return [value for key, value in json.loads(self.body)["headers"] if key == name]

    @property
    def path(self) -> str:
        return json.loads(self.body)["path"]


def ask(stack: Any, path: str, method: str = "GET", **headers: str) -> Seen:
    connected = http.client.HTTPConnection(stack.gateway, timeout=60)
    try:
        connected.request(
            method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        return Seen(connected.getresponse())
    finally:
        connected.close()


def test_paths_and_fields_are_changed_as_the_route_says(stack: Any) -> None:
    seen = ask(stack, "/api/a%2Fb//c?x=%2F", Cookie="secret", X_Tenant="theirs", Connection="x-tenant")
    assert seen.path == "/a%2Fb//c"
    assert (seen.sent("cookie"), seen.sent("x-tenant")) == ([], ["ours"])
    assert seen.sent("accept")[-1] == "text/x"
    assert (seen.head["server"], seen.head["x-stage"], seen.head["x-kept"]) == (None, "test", "1")
    assert ask(stack, "/%61pi").path == "/"
    assert ask(stack, "/old/x%20y").path == "/new/x%20y"


def test_conditions_decide(stack: Any) -> None:
    host = {"Host": "shop.example.com:8000"}
    assert ask(stack, "/same?beta=", X_Version="2", **host).path == "/special"
    assert ask(stack, "/same", X_Version="2", **host).path == "/plain"
    assert ask(stack, "/same?beta=1", X_Version="3", **host).path == "/plain"
    assert ask(stack, "/same?beta=1", X_Version="2").path == "/plain"
    assert ask(stack, "/only").path == "/only"
    assert ask(stack, "/only/x").status == 404
    refused = ask(stack, "/only", method="PUT")
    assert (refused.status, refused.head["allow"]) == (405, "GET, HEAD")


def test_policies_and_middleware_of_the_users_own_are_passed(stack: Any) -> None:
    refused = ask(stack, "/tenants")
    assert (refused.status, refused.head["x-route"]) == (403, "/tenants")
    passed = ask(stack, "/tenants/x", X_Tenant="a")
    assert (passed.status, passed.head["x-route"], passed.path) == (200, "/tenants", "/tenants/x")
    timed = ask(stack, "/timed/x")
    assert (timed.status, timed.head["x-timing"], timed.path) == (200, "1", "/timed/x")
    loud = ask(stack, "/loud")
    assert loud.body.isupper()
    assert loud.body.endswith("!")


def test_what_is_explained_is_the_way_that_a_request_takes(stack: Any) -> None:
    _, met = stack.ask("routes", method="GET", path="/api/x")
    assert (met["target"], met["adapter"]) == ("/x", "protocol" if stack.short else "asgi")
    _, met = stack.ask("routes", method="GET", path="/timed")
    assert (met["middleware"], met["adapter"]) == (["extras:Timing"], "asgi")
    headers = [["host", "shop.example.com"], ["x-version", "2"]]
    _, met = stack.ask("routes", method="GET", path="/same?beta=1", headers=headers)
    assert met["target"] == "/special"
    _, table = stack.ask("routes")
    states = [each["state"] for row in table["items"] if row["path"] == "/api" for each in row["instances"]]
    assert states == (["healthy"] if stack.short else [])
