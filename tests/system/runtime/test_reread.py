"""The configuration is read again: on a signal, on a verb, on an edit. No request is dropped, and nothing is done by half."""

from __future__ import annotations

import http.client
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from micro.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

HELLO = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def hello(request):
    return PlainTextResponse(request.url.path)

app = Starlette(routes=[Route("/{path:path}", hello)])
"""

EXTRAS = """
class Stamp:
    def on_response(self, exchange):
        exchange.fields.append((b"x-stamp", b"1"))
"""

SLOW = """
import asyncio, os
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

def wait_for_release():
    with open(os.environ["RELEASE"]) as fifo:
        return fifo.read()

async def stream(request):
    async def parts():
        yield "begun "
        yield await asyncio.to_thread(wait_for_release)
    return StreamingResponse(parts())

app = Starlette(routes=[Route("/stream", stream)])
"""

TOML = """
[services.hello]
app = "hello:app"
routes = ["/hello"]
[services.slow]
app = "slow:app"
routes = ["/stream"]
"""
MORE = (
    '[[gateway.routes]]\npath = "/api"\nservice = "hello"\nstrip_prefix = true\npolicies = ["extras:Stamp"]\n'
)
OFF = 'rate_limit = "off"'


@pytest.fixture
def stack(start: Any, write: Any, release: Path) -> Any:
    """One that does not follow edits."""
    write(TOML, hello=HELLO, slow=SLOW, extras=EXTRAS)
    return start("--no-reload", RELEASE=str(release)).until_ready()


def edit(stack: Any, more: str = "", *, gateway: str = "", text: str = TOML) -> None:
    (stack.folder / "micro.toml").write_text(f"[gateway]\nport = 0\n{gateway}\n{text}{more}")


def head(stack: Any, path: str) -> tuple[int, str | None]:
    connected = http.client.HTTPConnection(stack.gateway, timeout=60)
    try:
        connected.request("GET", path)
        answer = connected.getresponse()
        answer.read()
        return answer.status, answer.headers["x-stamp"]
    finally:
        connected.close()


def test_a_hangup_puts_new_routes_and_policies_in_force(stack: Any) -> None:
    assert head(stack, "/api/hello") == (404, None)
    edit(stack, MORE)
    stack.send(signal.SIGHUP)
    stack.until("notice", "the gateway's settings are in force")
    assert head(stack, "/api/hello") == (200, "1")
    assert stack.get("/api/hello/x") == (200, "/hello/x")
    assert stack.stop() == 0


def test_wrong_settings_change_nothing_and_the_reason_is_told(stack: Any) -> None:
    edit(stack, MORE.replace("Stamp", "Stamps"), gateway='rate_limit = "1/day"')
    stack.send(signal.SIGHUP)
    reason = stack.until("notice", "the settings stay as they were")
    expected = "micro.toml: gateway.routes.0.policies.0: extras has no 'Stamps'; did you mean 'Stamp'?"
    assert expected in reason
    assert head(stack, "/api/hello") == (404, None)
    with pytest.raises(UsageError, match=r"gateway\.routes\.0\.policies\.0: extras has no 'Stamps'"):
        stack.ask("routes.reload")


def test_what_needs_a_restart_is_named(stack: Any) -> None:
    edit(stack, gateway='max_head = "1KiB"')
    _, done = stack.ask("routes.reload")
    assert done == {"changed": False, "notes": ["restart needed: gateway.max_head changed"]}


def test_no_request_is_dropped(stack: Any, release: Path) -> None:
    """Requests on kept-open connections go on all the while, and an answer that has begun ends as it began."""
    stream = stack.open("/stream")
    assert stream.read(6) == b"begun "
    statuses: list[int] = []
    over = threading.Event()

    def load() -> None:
        connected = http.client.HTTPConnection(stack.gateway, timeout=60)
        while not over.is_set():
            connected.request("GET", "/hello")
            answer = connected.getresponse()
            answer.read()
            statuses.append(answer.status)
        connected.close()

    clients = [threading.Thread(target=load) for _ in range(4)]
    edit(stack, gateway=OFF)
    stack.ask("routes.reload")
    for client in clients:
        client.start()
    for number in range(10):
        edit(stack, MORE.replace("/api", f"/api-{number}"), gateway=OFF)
        _, done = stack.ask("routes.reload")
        assert done["changed"] is True
        assert head(stack, f"/api-{number}/hello") == (200, "1")
        assert head(stack, f"/api-{number - 1}/hello")[0] == 404
    edit(stack, text=TOML.replace('routes = ["/stream"]', 'routes = ["/elsewhere"]'), gateway=OFF)
    stack.ask("routes.reload")
    assert stack.get("/stream")[0] == 404
    over.set()
    for client in clients:
        client.join()
    release.write_text("ended")
    assert stream.read() == b"ended"
    assert set(statuses) == {200}
    assert len(statuses) > 40


def test_an_edit_right_after_the_start_is_not_missed(start: Any, write: Any) -> None:
    """The stack is ready before it watches its files."""
    write(TOML, hello=HELLO, slow=SLOW, extras=EXTRAS)
    stack = start().until_ready()
    edit(stack, MORE)
    stack.until("notice", "the gateway's settings are in force")
    assert head(stack, "/api/hello") == (200, "1")


def test_its_own_files_are_not_watched(start: Any, write: Any) -> None:
    """Neither does it tell of them, nor does the library that watches."""
    write(TOML, hello=HELLO, slow=SLOW, extras=EXTRAS)
    stack = start().until_ready()
    edit(stack, MORE)
    stack.until("notice", "the gateway's settings are in force")
    (stack.folder / ".micro" / "noise.py").write_text("1")
    edit(stack, gateway='max_body = "1KiB"')
    assert stack.until("notice") == "the gateway's settings are in force"
    assert stack.stop() == 0
    assert "watchfiles" not in stack.errors
    assert "detected" not in stack.errors


def test_an_edit_to_a_policy_is_followed(start: Any, write: Any) -> None:
    """One that can't be imported leaves the old one in force, and mending it is noticed."""
    write(TOML + MORE, hello=HELLO, slow=SLOW, extras=EXTRAS)
    stack = start().until_ready()
    assert head(stack, "/api/hello") == (200, "1")
    for text, notice, stamp in (
        (EXTRAS.replace('"1"', '"2"'), "the gateway's policies are loaded anew: extras.py", "2"),
        ("class", "the gateway's policies stay as they were: ", "2"),
        (EXTRAS.replace('"1"', '"3"'), "the gateway's policies are loaded anew: extras.py", "3"),
    ):
        (stack.folder / "extras.py").write_text(text)
        stack.until("notice", notice)
        assert head(stack, "/api/hello") == (200, stamp)
    assert stack.get("/hello") == (200, "/hello")
