"""Requests to an `Api`: arguments, answers, and the order in which things are refused."""

from __future__ import annotations

import logging

import pytest
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from micro.errors import CallError, ConfigurationError, UniqueViolation
from micro.testing.asgi import CUT
from micro.web.api import Api, Id, JsonResponse
from micro.web.pagination import Items, Page, page_of

ID = "019b7d3c-8a00-7c4e-9f3b-2d6a51c0e7f4"


class Form(Struct):
    """A task to be."""

    title: str


class View(Struct):
    """A task."""

    id: str
    title: str


class Taken(Exception):
    """A domain error."""


class Shop:
    """Handlers that keep what they were given."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    async def create(self, request: Request, body: Form) -> View:
        """Create."""
        self.seen.append(body)
        return View(ID, body.title)

    async def maybe(self, request: Request, body: Form | None) -> View:
        """With an optional body."""
        return View(ID, body.title if body else "none")

    async def listing(self, request: Request, query: Page) -> Items[View]:
        """List."""
        self.seen.append(query)
        return page_of([], query.limit, lambda view: (view.id,))

    async def read(self, request: Request, id: Id) -> View:
        """Read."""
        self.seen.append(id)
        return View(id, request.state.identity.subject)

    async def by_name(self, request: Request, name: str) -> JsonResponse:
        """Any text in the path."""
        return JsonResponse({"name": name}, headers={"ETag": '"1"'})

    async def remove(self, request: Request, id: Id) -> None:
        """Remove."""

    async def plain(self, request: Request) -> Response:
        """A response of Starlette's."""
        return PlainTextResponse("hello", 202, headers={"X-A": "b"})

    async def stream(self, request: Request) -> Response:
        """Piece by piece."""

        async def pieces():
            yield b"one"
            yield b"two"

        return StreamingResponse(pieces())

    async def fail(self, request: Request, what: str) -> View:
        """Fail in some way."""
        raise {
            "taken": Taken("That is taken."),
            "unique": UniqueViolation("users.email"),
            "bug": ZeroDivisionError("secret"),
        }[what]


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
def api(shop):
    made = Api("shop", version="1", errors={Taken: 409})
    made.post("/tasks", status=201, problems=(409,))(shop.create)
    made.get("/tasks")(shop.listing)
    made.get("/tasks/{id}")(shop.read)
    made.delete("/tasks/{id}")(shop.remove)
    made.put("/maybe", auth=False)(shop.maybe)
    made.get("/names/{name}", auth=False)(shop.by_name)
    made.get("/plain", auth=False)(shop.plain)
    made.get("/stream", auth=False)(shop.stream)
    made.get("/fail/{what}", auth=False)(shop.fail)
    return made


@pytest.fixture
def client(api, client_of, verifier):
    return client_of(api.app, authorization=f"Bearer {verifier.token('ana')}")


@pytest.fixture
def stranger(api, client_of):
    return client_of(api.app)


async def test_a_struct_is_sent_as_json_with_the_declared_status(client, shop):
    """And the body arrives as the declared struct."""
    answer = await client.post("/tasks", json={"title": "Milk"})
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.json() == {"id": ID, "title": "Milk"}
    assert shop.seen == [Form("Milk")]


async def test_the_handler_knows_who_asks(client):
    """`request.state.identity`."""
    assert (await client.get(f"/tasks/{ID}")).json()["title"] == "ana"


async def test_query_parameters_arrive_as_the_declared_struct(client, shop):
    """With defaults where they are absent."""
    await client.get("/tasks?limit=7")
    await client.get("/tasks")
    assert shop.seen == [Page(limit=7), Page()]


async def test_nothing_is_204(client):
    """Without a body or a media type."""
    answer = await client.delete(f"/tasks/{ID}")
    assert (answer.status, answer.body) == (204, b"")
    assert "content-type" not in answer.headers


async def test_a_response_goes_through_as_it_is(stranger):
    """Status, fields and body."""
    answer = await stranger.get("/plain")
    assert (answer.status, answer.body, answer.headers["x-a"]) == (202, b"hello", "b")


async def test_a_stream_is_sent_piece_by_piece(stranger):
    """Not gathered."""
    async with stranger.stream("GET", "/stream") as answer:
        assert [chunk async for chunk in answer.chunks()] == [b"one", b"two"]


async def test_a_json_response_has_its_fields(stranger):
    """Names in lower case, as HTTP/2 wants them."""
    answer = await stranger.get("/names/a")
    assert answer.headers["etag"] == '"1"'
    assert dict(answer.raw_headers)[b"etag"] == b'"1"'


async def test_path_parameters_are_decoded(stranger):
    """After the match."""
    assert (await stranger.get("/names/a%20%C3%BC%2Fb")).json() == {"name": "a ü/b"}


@pytest.mark.parametrize("raw", ["%00", "a%00b", "%FF", "%ED%A0%80"])
async def test_a_path_parameter_that_no_store_can_keep_is_404(stranger, raw):
    """There can't be anything of that name."""
    assert (await stranger.get(f"/names/{raw}")).status == 404


@pytest.mark.parametrize(
    "id", ["1", ID.upper(), ID + "0", ID[:-1], "null", "%00", ID.replace("-", ""), f"{ID}%0A", "..", "%2e%2e"]
)
async def test_a_malformed_id_is_404(client, shop, id):
    """Nothing has such an id, and the handler never sees it."""
    assert (await client.get(f"/tasks/{id}")).status == 404
    assert shop.seen == []


async def test_head_answers_as_get_without_the_body(client):
    """With the length that GET would have (RFC 9110 section 9.3.2)."""
    answer = await client.request("HEAD", f"/tasks/{ID}")
    full = await client.get(f"/tasks/{ID}")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers == full.headers


async def test_head_of_a_stream_has_no_body(stranger):
    """Whatever the app sends."""
    assert (await stranger.request("HEAD", "/stream")).body == b""


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "/tasks", "GET, HEAD, POST"),
        ("PUT", f"/tasks/{ID}", "DELETE, GET, HEAD"),
        ("GET", "/maybe", "PUT"),
        ("HEAD", "/maybe", "PUT"),
        ("OPTIONS", "/plain", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
        ("BREW", "/plain", "GET, HEAD"),
    ],
)
async def test_another_method_is_405_with_allow(client, method, path, allow):
    """RFC 9110 section 15.5.6."""
    answer = await client.request(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allow)


@pytest.mark.parametrize("path", ["/", "/nothing", "/tasks/", "/TASKS", "/tasks/a/b", "/%74asks", "/docs/"])
async def test_an_unknown_path_is_404(stranger, path):
    """A problem body, without asking for a token."""
    answer = await stranger.get(path)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "Not Found"


async def test_without_a_token_it_is_401(stranger):
    """With a challenge."""
    answer = await stranger.get(f"/tasks/{ID}")
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Bearer a b", "Basic YTpi", "bearer", "Token x", "", "Bearer \xe9"]
)
async def test_a_malformed_authorization_is_401(api, client_of, value):
    """And says what to send."""
    answer = await client_of(api.app, authorization=value).get("/tasks")
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_the_scheme_has_no_case(api, client_of, verifier):
    """RFC 9110 section 11.1."""
    assert (
        await client_of(api.app, authorization=f"bEARER {verifier.token('ana')}").get("/tasks")
    ).status == 200


async def test_a_refused_token_is_401_and_says_why(api, client_of):
    """So that a client knows whether to refresh."""
    answer = await client_of(api.app, authorization="Bearer forged").get("/tasks")
    assert answer.status == 401
    assert answer.json()["detail"] == "The token is not one of this test's."


async def test_an_expired_token_is_401(api, client_of, verifier, clock):
    """Once its time is over."""
    client = client_of(api.app, authorization=f"Bearer {verifier.token('ana')}")
    await clock.advance(901)
    assert (await client.get("/tasks")).status == 401


async def test_two_authorizations_are_401(api, resources, verifier):
    """Which one counts would differ from one reader to the next."""
    token = f"Bearer {verifier.token('ana')}".encode()
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/tasks",
        "query_string": b"",
        "headers": [(b"authorization", token), (b"authorization", token)],
        "state": {"micro": resources},
    }
    await api.app(scope, None, send)
    assert sent[0]["status"] == 401


async def test_when_tokens_cannot_be_checked_it_is_503(api, client_of, resources):
    """Not 401: the client's token may be fine, and must not be thrown away."""

    class Cut:
        def cached(self, token):
            return None

        async def verify(self, token):
            raise CallError("user: refused")

    resources.verifier = Cut()
    answer = await client_of(api.app, authorization="Bearer x").get("/tasks")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_refusals_come_in_order(api, client_of, client, verifier):
    """Token, then id, then query, then body."""
    stranger = client_of(api.app)
    assert (await stranger.get("/tasks/nope?limit=0")).status == 401
    assert (await client.get("/tasks/nope")).status == 404
    assert (await stranger.post("/tasks", body=b"{")).status == 401
    assert (await client.post("/tasks", body=b"{")).status == 415


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {"content-type": "application/json"}, 400),
        (b"[" * 100_000, {"content-type": "application/json"}, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-type": "application/json"}, 422),
        (b'{"title":"\\u0000"}', {"content-type": "application/json"}, 422),
        (b" " * (1 << 20) + b"{}", {"content-type": "application/json"}, 413),
    ],
)
async def test_a_bad_body_gets_its_status(client, shop, body, headers, status):
    """And never reaches the handler."""
    assert (await client.post("/tasks", body=body, headers=headers)).status == status
    assert shop.seen == []


async def test_a_cut_body_is_never_handled(client, shop):
    """Even when what came is whole: nobody is there to be answered, nothing is done."""
    with pytest.raises(ConnectionError):
        await client.post(
            "/tasks", body=[b'{"title":"Milk"}', CUT], headers={"content-type": "application/json"}
        )
    assert shop.seen == []


async def test_a_limit_on_bodies_can_be_set(shop, client_of):
    """For a service that takes more, or less."""
    api = Api("shop", version="1", max_body=10)
    api.post("/tasks", auth=False)(shop.create)
    assert (await client_of(api.app).post("/tasks", json={"title": "Milk and honey"})).status == 413


async def test_an_optional_body_may_be_absent(stranger):
    """Or there."""
    assert (await stranger.put("/maybe")).json()["title"] == "none"
    assert (await stranger.put("/maybe", json={"title": "x"})).json()["title"] == "x"


async def test_a_domain_error_gets_the_declared_status(stranger):
    """One mapping for the whole API."""
    answer = await stranger.get("/fail/taken")
    assert (answer.status, answer.json()["detail"]) == (409, "That is taken.")


async def test_an_error_of_ours_gets_its_status(stranger):
    """Without the driver's words."""
    answer = await stranger.get("/fail/unique")
    assert answer.status == 409
    assert b"users.email" not in answer.body


async def test_a_bug_is_a_500_that_tells_nothing(stranger, caplog):
    """The log has the traceback."""
    with caplog.at_level(logging.ERROR):
        answer = await stranger.get("/fail/bug")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "ZeroDivisionError" in caplog.text


async def test_without_resources_the_reason_is_in_the_log(api, caplog):
    """An app that was started by hand says what it lacks."""
    from micro.testing import AsgiClient

    with caplog.at_level(logging.ERROR):
        assert (await AsgiClient(api.app).get("/tasks")).status == 500
    assert "ServiceHarness" in caplog.text


async def test_the_raw_path_may_be_missing(stranger, api, resources):
    """It is optional in ASGI."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/plain", "headers": [], "query_string": b""}
    await api.app(scope, None, send)
    assert sent[0]["status"] == 202


async def test_documentation_is_served(stranger):
    """By the app itself, without a token."""
    assert (await stranger.get("/openapi.json")).json()["openapi"] == "3.1.0"
    assert (await stranger.get("/docs")).headers["content-type"].startswith("text/html")
    assert (await stranger.get("/docs/start.js")).status == 200
    assert (await stranger.request("HEAD", "/docs")).body == b""


async def test_a_lifespan_is_completed(api):
    """There is nothing to start."""
    waiting = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent = []

    async def receive():
        return next(waiting)

    async def send(message):
        sent.append(message["type"])

    await api.app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_websocket_is_refused(api):
    """By closing before it is accepted, which servers answer with 403."""
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message["type"])

    await api.app({"type": "websocket", "path": "/tasks"}, receive, send)
    assert sent == ["websocket.close"]


def test_a_handler_keeps_its_name():
    """Declaring returns the function itself, so tests can call it."""
    api = Api("x", version="1")

    @api.get("/x", auth=False)
    async def handler(request: Request) -> View:
        return View("1", "x")

    assert handler.__name__ == "handler"
    assert api.endpoints[0].handler is handler


class Wrong:
    """Handlers that can't be declared."""

    def not_async(self, request: Request) -> View:
        return View("1", "x")

    async def extra(self, request: Request, colour: str) -> View:
        return View("1", colour)

    async def number(self, request: Request, id: int) -> View:
        return View("1", str(id))

    async def query(self, request: Request, query: dict) -> View:
        return View("1", "x")

    async def unknown(self, request: Request, body: Missing) -> View:  # noqa: F821
        return View("1", "x")


@pytest.mark.parametrize(
    ("handler", "path", "message"),
    [
        (Wrong().not_async, "/x", "must be an async function"),
        (Wrong().extra, "/x", "besides request, body and query"),
        (Wrong().extra, "/{id}", "besides request, body and query"),
        (Wrong().number, "/{id}", "must be str or Id"),
        (Wrong().query, "/x", "must be a msgspec.Struct"),
        (Wrong().unknown, "/x", "import Missing outside of TYPE_CHECKING"),
    ],
)
def test_a_handler_that_cannot_work_is_refused_at_declaration(handler, path, message):
    """Not at the first request."""
    with pytest.raises(ConfigurationError, match=message):
        Api("x", version="1").get(path)(handler)
