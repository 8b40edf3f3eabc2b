"""The ASGI client: what it sends, and what it makes of the answer."""

from __future__ import annotations

import asyncio

import pytest

from micro.testing import AsgiClient
from micro.testing.asgi import CUT


async def respond(send, status=200, headers=(), body=b"", *, more=False):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": more})


class Recorder:
    """An app that keeps its scope and body, and answers 200."""

    def __init__(self) -> None:
        self.scope = None
        self.messages = []

    async def __call__(self, scope, receive, send):
        self.scope = scope
        while True:
            message = await receive()
            self.messages.append(message)
            if not message.get("more_body"):
                break
        await respond(send, body=b"{}")


@pytest.fixture
def app():
    return Recorder()


async def test_the_scope_is_a_servers(app):
    """Path decoded and raw, query apart, header names in lower case."""
    await AsgiClient(app, headers={"X-A": "1"}).get("/a%20b/%C3%BC?q=1", headers={"X-B": "2"})
    assert app.scope["path"] == "/a b/ü"
    assert app.scope["raw_path"] == b"/a%20b/%C3%BC"
    assert app.scope["query_string"] == b"q=1"
    assert app.scope["headers"] == [(b"host", b"localhost"), (b"x-a", b"1"), (b"x-b", b"2")]


async def test_json_is_encoded_with_its_type_and_length(app):
    """As a client library does."""
    await AsgiClient(app).post("/", json={"a": 1})
    headers = dict(app.scope["headers"])
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == b"7"
    assert app.messages[0]["body"] == b'{"a":1}'


async def test_a_body_may_come_in_pieces(app):
    """Each a message of its own."""
    await AsgiClient(app).put("/", body=[b"a", b"b"])
    assert [(m["body"], m["more_body"]) for m in app.messages] == [(b"a", True), (b"b", False)]


async def test_a_body_may_be_cut(app):
    """Then the app is told that the client has gone."""
    await AsgiClient(app).delete("/", body=[b"a", CUT])
    assert [m["type"] for m in app.messages] == ["http.request", "http.disconnect"]


async def test_extensions_are_in_the_scope(app):
    """For what another part of the process would put there."""
    await AsgiClient(app, extensions={"micro.context": "c"}).get("/")
    assert app.scope["micro.context"] == "c"


async def test_repeated_fields_are_joined():
    """And are there one by one too."""

    async def app(scope, receive, send):
        await respond(send, headers=[(b"a", b"1"), (b"a", b"2")], body=b"[1]")

    answer = await AsgiClient(app).get("/")
    assert answer.headers == {"a": "1, 2"}
    assert answer.raw_headers == ((b"a", b"1"), (b"a", b"2"))
    assert answer.json() == [1]


async def test_an_app_that_answers_nothing_is_an_error():
    """Not an empty answer."""

    async def app(scope, receive, send):
        pass

    with pytest.raises(ConnectionError, match="without a response"):
        await AsgiClient(app).get("/")


async def test_an_app_that_stops_in_the_middle_is_an_error():
    """Half an answer is none."""

    async def app(scope, receive, send):
        await respond(send, body=b"half", more=True)

    with pytest.raises(ConnectionError, match="before the end"):
        await AsgiClient(app).get("/")


async def test_an_apps_exception_is_raised():
    """From the call."""

    async def app(scope, receive, send):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await AsgiClient(app).get("/")


async def test_an_exception_after_the_answer_is_raised():
    """A test should see it."""

    async def app(scope, receive, send):
        await respond(send)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await AsgiClient(app).get("/")


async def test_a_stream_is_read_as_it_comes():
    """The head first, then each piece, while the app goes on."""
    go_on = asyncio.Event()

    async def app(scope, receive, send):
        await respond(send, body=b"one", more=True)
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"two"})

    async with AsgiClient(app).stream("GET", "/") as answer:
        chunks = answer.chunks()
        assert (answer.status, await anext(chunks)) == (200, b"one")
        go_on.set()
        assert [chunk async for chunk in chunks] == [b"two"]


async def test_leaving_a_stream_disconnects():
    """The app learns that the client has gone, by its next message or by its next send."""
    learned = []

    async def app(scope, receive, send):
        await receive()
        await respond(send, body=b"one", more=True)
        learned.append((await receive())["type"])
        try:
            await send({"type": "http.response.body", "body": b"two"})
        except OSError as error:
            learned.append(str(error))

    async with AsgiClient(app).stream("GET", "/"):
        pass
    assert learned == ["http.disconnect", "the client has gone"]
