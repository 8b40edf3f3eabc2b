"""`call()` between services of one process."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar

import msgspec
import pytest

from micro.context import Context, current
from micro.errors import CallError
from micro.gateway.upstream import caller as caller_module
from micro.gateway.upstream.caller import TOKEN_REUSED, LocalCaller
from micro.gateway.upstream.local import LocalUpstream
from micro.gateway.upstream.ports import UpstreamError
from micro.ids import is_id, is_traceparent
from micro.service import Call

secret = ContextVar("secret", default="none")


@pytest.fixture
async def make(clock):
    """A caller for one app called `user`, and the sources that tokens were signed for."""
    callers = []

    def build(app):
        signed = []

        def sign(source):
            signed.append(source)
            return f"token-{len(signed)}"

        caller = LocalCaller({"user": LocalUpstream(app)}, sign=sign, clock=clock)
        caller.signed = signed
        callers.append(caller)
        return caller

    yield build
    for caller in callers:
        await caller.close()


def call(method="GET", path="/users/1", **more):
    return Call(source="task", target="user", method=method, path=path, **more)


async def test_an_app_that_ends_after_its_answer_is_not_worth_a_line(make, echo, caplog):
    caller = make(echo)
    await caller.call(call())
    await caller.close()
    assert caplog.text == ""


async def test_the_answer_arrives_whole(make, make_echo):
    echo = make_echo(
        [("Content-Type", "application/json"), ("set-cookie", "a=1"), ("set-cookie", "b=2")],
        body=b'{"id": 1}',
        status=201,
    )
    reply = await make(echo).call(call("POST", "/users?x=1&y", body=b"{}", headers=((b"x-a", b"1"),)))
    assert (reply.status, reply.json()) == (201, {"id": 1})
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["set-cookie"] == "a=1, b=2"
    scope = echo.scopes[0]
    assert (scope["method"], scope["path"], scope["raw_path"], scope["query_string"]) == (
        "POST",
        "/users",
        b"/users",
        b"x=1&y",
    )
    assert echo.bodies == [b"{}"]
    assert echo.sent("content-length") == ["2"]
    assert echo.sent("host") == ["user"]
    assert echo.sent("x-a") == ["1"]


@pytest.mark.parametrize(
    ("path", "raw"),
    [("/a%2Fb", b"/a%2Fb"), ("/a b", b"/a%20b"), ("/\u4e2d", b"/%E4%B8%AD"), ("/a'(b)", b"/a'(b)")],
)
async def test_a_path_goes_as_it_is_and_encoded_where_it_has_to_be(make, echo, path, raw):
    await make(echo).call(call(path=path))
    assert echo.scopes[0]["raw_path"] == raw


async def test_a_status_of_any_kind_is_an_answer(make, make_echo):
    assert (await make(make_echo(status=503)).call(call())).status == 503


async def test_the_context_is_carried_on(make, echo):
    cause = Context(
        correlation_id="corr",
        causation_id="req",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        request_id="req",
    )
    token = current.set(cause)
    try:
        await make(echo).call(call(headers=((b"x-request-id", b"forged"), (b"traceparent", b"forged"))))
    finally:
        current.reset(token)
    context = echo.scopes[0]["micro.context"]
    assert (context.correlation_id, context.request_id, context.causation_id) == ("corr", "req", "req")
    assert context.traceparent[:36] == cause.traceparent[:36]
    assert context.traceparent != cause.traceparent
    assert echo.sent("x-correlation-id") == ["corr"]
    assert echo.sent("x-request-id") == ["req"]
    assert echo.sent("traceparent") == [context.traceparent]


async def test_a_call_without_a_cause_begins_a_trace_of_its_own(make, echo):
    await make(echo).call(call())
    context = echo.scopes[0]["micro.context"]
    assert is_id(context.request_id)
    assert context.correlation_id == context.request_id
    assert is_traceparent(context.traceparent)


async def test_a_call_from_an_event_handler_has_a_request_id_of_its_own(make, echo):
    token = current.set(Context(correlation_id="corr", causation_id="event", traceparent="", request_id=None))
    try:
        await make(echo).call(call())
    finally:
        current.reset(token)
    context = echo.scopes[0]["micro.context"]
    assert context.correlation_id == "corr"
    assert is_id(context.request_id)


async def test_the_caller_proves_who_it_is_with_a_token_that_it_uses_again(make, echo, clock):
    caller = make(echo)
    for _ in range(3):
        await caller.call(call())
    assert echo.sent("authorization") == ["Bearer token-1"]
    await clock.advance(TOKEN_REUSED)
    await caller.call(call())
    assert echo.sent("authorization") == ["Bearer token-2"]
    assert caller.signed == ["task", "task"]


async def test_an_authorization_of_the_calls_own_stays(make, echo):
    caller = make(echo)
    await caller.call(call(headers=((b"authorization", b"Bearer users"),)))
    assert echo.sent("authorization") == ["Bearer users"]
    assert caller.signed == []


async def test_nothing_of_the_callers_context_leaks_in(make):
    seen = []

    async def app(scope, receive, send):
        seen.append((secret.get(), current.get()))
        secret.set("changed")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    secret.set("mine")
    await make(app).call(call())
    assert seen == [("none", None)]
    assert secret.get() == "mine"


async def test_an_unknown_service_is_named_with_the_known_ones(make, echo):
    with pytest.raises(CallError, match="task called nobody: there is no such service; there are: user"):
        await make(echo).call(Call(source="task", target="nobody", method="GET", path="/"))


async def test_an_app_that_raises_gives_no_answer_and_keeps_its_reason(make):
    async def app(scope, receive, send):
        raise ValueError("oops")

    with pytest.raises(CallError, match="task called user: GET /users/1: no answer") as failure:
        await make(app).call(call())
    assert isinstance(failure.value.__cause__, ValueError)


async def test_an_upstream_that_gets_no_answer_says_why(make):
    async def unreachable(scope, receive, send):
        raise UpstreamError("connection_refused", "10.0.0.5:9000: refused")

    with pytest.raises(CallError, match=r"GET /users/1: no answer: 10\.0\.0\.5:9000: refused"):
        await make(unreachable).call(call())


async def test_an_app_that_returns_without_an_answer_gives_none(make):
    async def app(scope, receive, send):
        return

    with pytest.raises(CallError, match="no answer"):
        await make(app).call(call())


async def test_an_answer_that_breaks_off_is_none(make):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    with pytest.raises(CallError, match="broke off"):
        await make(app).call(call())


async def test_an_answer_that_is_too_large_is_none(make, monkeypatch):
    monkeypatch.setattr(caller_module, "MAX_ANSWER", 10)
    cancelled = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(5):
                await send({"type": "http.response.body", "body": b"x" * 4, "more_body": True})
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(CallError, match="larger than 10 bytes"):
        await make(app).call(call())
    async with asyncio.timeout(60):
        await cancelled.wait()


async def test_an_answer_of_exactly_the_limit_is_one(make, make_echo, monkeypatch):
    monkeypatch.setattr(caller_module, "MAX_ANSWER", 5)
    assert (await make(make_echo(body=b"12345")).call(call())).body == b"12345"


async def test_a_call_that_takes_too_long_is_cancelled(make):
    cancelled = asyncio.Event()

    async def app(scope, receive, send):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(CallError, match=r"no answer within 0\.01 s"):
        await make(app).call(call(timeout=0.01))
    async with asyncio.timeout(60):
        await cancelled.wait()


async def test_a_caller_that_is_cancelled_cancels_the_app(make):
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.create_task(make(app).call(call()))
    async with asyncio.timeout(60):
        await entered.wait()
        task.cancel()
        await asyncio.wait({task})
        await cancelled.wait()
    assert task.cancelled()


async def test_work_that_swallows_its_cancellation_does_not_keep_the_caller(make, monkeypatch):
    monkeypatch.setattr(caller_module, "_CANCELLATION", 0.05)
    released, ended = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()
        ended.set()

    caller = make(app)
    async with asyncio.timeout(60):
        assert (await caller.call(call())).status == 200
        await caller.close()
        assert not ended.is_set()
        released.set()
        await ended.wait()


async def test_work_after_the_answer_goes_on_until_the_caller_is_closed(make, make_echo):
    echo, heard = make_echo(), []
    working, done = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        await echo(scope, receive, send)
        heard.append((await receive())["type"])
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            done.set()

    caller = make(app)
    assert (await caller.call(call())).status == 200
    async with asyncio.timeout(60):
        await working.wait()
        assert not done.is_set()
        await caller.close()
        await caller.close()
    assert done.is_set()
    assert heard == ["http.disconnect"]


async def test_an_app_that_fails_after_its_answer_is_logged(make, make_echo, caplog):
    echo = make_echo()

    async def app(scope, receive, send):
        await echo(scope, receive, send)
        await asyncio.get_running_loop().run_in_executor(None, str)
        raise RuntimeError("background work")

    caller = make(app)
    assert (await caller.call(call())).status == 200
    async with asyncio.timeout(60):
        await asyncio.gather(*caller._tasks, return_exceptions=True)
    assert "background work" in caplog.text


async def test_an_answer_in_pieces_is_joined(make):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        for part in (b"[1", b",2"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"]"})
        await send({"type": "http.response.body", "body": b"too much"})

    assert (await make(app).call(call())).json() == [1, 2]


async def test_a_body_that_is_no_json_says_so(make, make_echo):
    reply = await make(make_echo(body=b"<html>")).call(call())
    with pytest.raises(msgspec.DecodeError):
        reply.json()
