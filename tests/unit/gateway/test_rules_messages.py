"""Rules S, P, B and the tables 2.6, 2.9 of the reference, as far as ASGI shows them. A test is named after its rule."""

# ruff: noqa: N802 - tests are named after the rules

from __future__ import annotations

import asyncio
import logging

import pytest

from micro.gateway.upstream.local import LocalUpstream
from micro.gateway.upstream.ports import UpstreamError
from micro.ids import is_traceparent
from micro.spec.gateway import Route

PROBLEM = "application/problem+json"


def refused(answer, status, error="http_request_error"):
    """A problem body, by RFC 9457 and RFC 9209, that no cache keeps."""
    assert answer.status == status
    assert answer["content-type"] == PROBLEM
    assert answer["proxy-status"] == f"micro; error={error}"
    assert answer["cache-control"] == "no-store"
    assert int(answer["content-length"]) == len(answer.body)
    body = answer.json()
    assert body["status"] == status
    assert body["request_id"] == answer["x-request-id"]
    assert {"type", "title", "detail"} <= body.keys()
    return True


async def test_S1_content_length_beside_transfer_encoding_is_refused_and_the_connection_closed(bench, echo):
    headers = [("content-length", "3"), ("transfer-encoding", "chunked")]
    answer = await bench.serve(echo).ask("POST", headers=headers, body=b"abc")
    assert refused(answer, 400)
    assert answer["connection"] == "close"
    assert echo.scopes == []


@pytest.mark.parametrize(
    "coding", ["gzip", "gzip, chunked", "chunked, gzip", "identity", "xchunked", "chunked;q=1"]
)
async def test_S2_an_unknown_transfer_coding_is_501(bench, echo, coding):
    answer = await bench.serve(echo).ask("POST", headers=[("transfer-encoding", coding)])
    assert refused(answer, 501)
    assert answer["connection"] == "close"


async def test_S2_two_codings_in_two_fields_are_501(bench, echo):
    headers = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]
    assert refused(await bench.serve(echo).ask("POST", headers=headers), 501)


async def test_S2_a_transfer_coding_in_http_1_0_is_faulty_framing(bench, echo):
    answer = await bench.serve(echo).ask(
        "POST", headers=[("transfer-encoding", "chunked")], http_version="1.0"
    )
    assert refused(answer, 400)


async def test_S2_chunked_in_any_case_is_taken(bench, echo):
    wire = bench.serve(echo).open("POST", headers=[("transfer-encoding", "Chunked")], chunks=[b"ab"])
    wire.push(b"c", last=True)
    assert (await wire.end()).status == 200
    assert echo.bodies == [b"abc"]


BAD_LENGTHS = [
    "",
    " ",
    "+5",
    "-5",
    "5_0",
    "0x5",
    "5,5",
    "5, 5",
    "5 ",
    "1e3",
    "\u0665".encode().decode("latin-1"),
    "9" * 19,
]


@pytest.mark.parametrize("length", BAD_LENGTHS)
async def test_S3_S4_a_content_length_is_one_number_in_ascii_digits(bench, echo, length):
    answer = await bench.serve(echo).ask("POST", headers=[("content-length", length)])
    assert refused(answer, 400)
    assert answer["connection"] == "close"
    assert echo.scopes == []


@pytest.mark.parametrize("second", ["3", "4"])
async def test_S3_a_repeated_content_length_is_400_even_where_it_agrees(bench, echo, second):
    headers = [("content-length", "3"), ("content-length", second)]
    assert refused(await bench.serve(echo).ask("POST", headers=headers, body=b"abc"), 400)


@pytest.mark.parametrize("length", BAD_LENGTHS)
async def test_S3_an_answer_with_a_malformed_length_is_502(bench, make_echo, length, caplog):
    answer = await bench.serve(make_echo([("content-length", length)])).ask("GET")
    assert refused(answer, 502, "http_protocol_error")
    assert "no Content-Length" in caplog.text


async def test_S3_an_answer_with_two_lengths_is_502(bench, make_echo, caplog):
    answer = await bench.serve(make_echo([("content-length", "5"), ("content-length", "5")])).ask("GET")
    assert refused(answer, 502, "http_protocol_error")
    assert "gave no answer" in caplog.text


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2", "HTTP"])
async def test_a_version_that_is_none_is_505(bench, echo, version):
    assert refused(await bench.serve(echo).ask("GET", http_version=version), 505)


async def test_S8_trailers_of_an_answer_do_not_pass(bench, caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.trailers", "headers": [(b"authorization", b"x")]})

    answer = await bench.serve(app).ask("GET")
    assert answer.broken
    assert "does not follow" in caplog.text


async def test_S10_a_body_that_nobody_asked_for_is_left_to_the_server(bench, make_echo):
    async def early(scope, receive, send):
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    answer = await bench.serve(early).ask("POST", body=b"x" * 1000)
    assert (answer.status, answer.body) == (403, b"no")
    assert bench.wires[0].asked == 0


@pytest.mark.parametrize(
    ("length", "parts"), [("5", [b"abc"]), ("2", [b"abc"]), ("6", [b"abc", b"defg"]), ("1", [])]
)
async def test_S11_an_answer_that_is_not_as_long_as_it_said_breaks_the_connection_off(
    bench, caplog, length, parts
):
    async def app(scope, receive, send):
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length.encode())]}
        )
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    answer = await bench.serve(app).ask("GET")
    assert answer.broken
    assert not answer.complete
    assert len(answer.body) <= int(length)
    assert bench.log[0].status == 200
    assert "Content-Length" in caplog.text


async def test_S11_an_answer_that_stops_breaks_the_connection_off(bench, caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    answer = await bench.serve(app).ask("GET")
    assert (answer.broken, answer.complete, answer.body) == (True, False, b"half")
    assert "broke its answer off" in caplog.text
    assert (
        'micro_gateway_errors_total{service="app",status="200",error="http_response_incomplete"} 1'
        in bench.metrics.render()
    )


async def test_S11_an_answer_that_fails_midway_breaks_the_connection_off(bench, caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("disk on fire")

    answer = await bench.serve(app).ask("GET")
    assert (answer.broken, answer.complete) == (True, False)
    assert "disk on fire" in caplog.text


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a%2Fb?x=%2F", "/a/b", b"x=%2F"),
        ("/a%3Fb", "/a?b", b""),
        ("/a%25b", "/a%b", b""),
        ("/%E4%B8%AD", "/\u4e2d", b""),
        ("/a//b/", "/a//b/", b""),
        ("/%7Eann", "/~ann", b""),
        ("/a?b?c=d&", "/a", b"b?c=d&"),
    ],
)
async def test_P1_P2_path_and_query_go_on_byte_for_byte(bench, echo, target, path, query):
    await bench.serve(echo).ask("GET", target)
    scope = echo.scopes[0]
    assert scope["raw_path"] == target.partition("?")[0].encode()
    assert (scope["path"], scope["query_string"]) == (path, query)


async def test_P2_a_server_that_gives_the_decoded_path_only_is_served(bench, echo):
    bench.serve(echo)
    await bench.ask("GET", raw_path=None, path="/a b/100%/\u4e2d")
    assert echo.scopes[0]["raw_path"] == b"/a%20b/100%25/%E4%B8%AD"
    assert echo.scopes[0]["path"] == "/a b/100%/\u4e2d"
    await bench.ask("GET", raw_path=b"", path="")
    assert echo.scopes[1]["raw_path"] == b"/"


def two_routes(bench, public, admin):
    upstreams = {"public": LocalUpstream(public), "admin": LocalUpstream(admin)}
    routes = [Route(path="/", service="public"), Route(path="/admin", service="admin", auth="required")]
    return bench.serve(upstreams=upstreams, routes=routes)


@pytest.mark.parametrize(
    "target",
    [
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/.%2E/admin",
        "/./admin",
        "/x%2f..%2fadmin",
        "/x/..;/admin",
        "/x\\..\\admin",
    ],
)
async def test_P3_dot_segments_are_refused_before_authorisation(bench, make_echo, target):
    public, admin = make_echo(), make_echo()
    answer = await two_routes(bench, public, admin).ask("GET", target)
    assert refused(answer, 400)
    assert public.scopes == admin.scopes == []


@pytest.mark.parametrize("target", ["/%61dmin", "/ad%6Din/x", "/%61%64%6d%69%6e"])
async def test_P3_an_encoded_spelling_meets_the_same_authorisation(bench, make_echo, target):
    public, admin = make_echo(), make_echo()
    answer = await two_routes(bench, public, admin).ask("GET", target)
    assert answer.status == 401
    assert public.scopes == []


@pytest.mark.parametrize("target", ["/admin%2Fx", "/%2Fadmin".replace("%2F", "%2Fx/..%2f"), "/admin%2f"])
async def test_P3_P4_an_encoded_slash_does_not_lead_around_a_route(bench, make_echo, target):
    """Who decodes it, as ASGI applications do, is on another route than who doesn't."""
    public, admin = make_echo(), make_echo()
    answer = await two_routes(bench, public, admin).ask("GET", target)
    assert refused(answer, 400)
    assert public.scopes == admin.scopes == []


async def test_P4_an_encoded_slash_is_kept_where_it_makes_no_difference(bench, make_echo):
    public, admin = make_echo(), make_echo()
    assert (await two_routes(bench, public, admin).ask("GET", "/files/a%2Fb")).status == 200
    assert public.scopes[0]["raw_path"] == b"/files/a%2Fb"


async def test_P5_slashes_are_not_merged(bench, make_echo):
    public, admin = make_echo(), make_echo()
    assert (await two_routes(bench, public, admin).ask("GET", "//admin")).status == 200
    assert public.scopes[0]["raw_path"] == b"//admin"


@pytest.mark.parametrize("target", ["*", "http://localhost/", "localhost:80", "admin"])
async def test_a_target_that_is_no_path_is_400(bench, echo, target):
    assert refused(await bench.serve(echo).ask("GET", target), 400)


async def test_options_for_the_whole_server_is_answered_here(bench, echo):
    answer = await bench.serve(echo).ask("OPTIONS", "*")
    assert (answer.status, answer["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
    assert "content-length" not in answer
    assert echo.scopes == []


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_trace_and_connect_end_here(bench, echo, method):
    answer = await bench.serve(echo).ask(method, "/")
    assert refused(answer, 405)
    assert "GET" in answer["allow"]
    assert echo.scopes == []


async def test_B1_head_is_answered_with_the_head_alone(bench, make_echo):
    echo = make_echo([("content-length", "5"), ("etag", '"1"')])
    answer = await bench.serve(echo).ask("HEAD")
    assert (answer.status, answer.body, answer["content-length"], answer["etag"]) == (200, b"", "5", '"1"')
    assert bench.log[0].bytes == 0


async def test_B1_a_refusal_of_head_has_the_length_and_no_body(bench, echo):
    bench.serve(upstreams={}, routes=[])
    answer = await bench.ask("HEAD", "/x")
    assert (answer.status, answer.body) == (404, b"")
    assert int(answer["content-length"]) > 0


@pytest.mark.parametrize("status", [204, 304])
async def test_B1_an_answer_that_has_no_body_is_sent_without_one(bench, make_echo, status):
    answer = await bench.serve(make_echo([("content-length", "5"), ("etag", '"1"')], status=status)).ask(
        "GET"
    )
    assert (answer.status, answer.body, answer["etag"]) == (status, b"", '"1"')
    assert "content-length" not in answer


@pytest.mark.parametrize("status", [100, 101, 103, 199, 600, 0, "200", None])
async def test_a_status_that_is_not_final_is_502(bench, make_echo, status, caplog):
    answer = await bench.serve(make_echo(status=status)).ask("GET")
    assert refused(answer, 502, "http_protocol_error")
    assert "no final status" in caplog.text


async def test_B2_a_refusal_does_not_wait_for_the_body(bench, echo):
    bench.serve(echo, routes=[Route(path="/", service="app", auth="required")])
    wire = bench.open("POST", headers=[("expect", "100-continue"), ("content-length", "5")], chunks=[])
    assert (await wire.end()).status == 401
    assert wire.asked == 0


async def test_B2_the_body_is_asked_for_when_the_service_asks(bench, echo):
    wire = bench.serve(echo).open(
        "POST", headers=[("expect", "100-continue"), ("content-length", "5")], chunks=[]
    )
    await wire.until(lambda: wire.asked)
    wire.push(b"hello", last=True)
    assert (await wire.end()).status == 200


async def test_B3_a_request_is_sent_once(bench, caplog):
    calls = []

    async def app(scope, receive, send):
        calls.append(scope["method"])
        raise ConnectionResetError

    bench.serve(app)
    for method in ("GET", "POST"):
        assert refused(await bench.ask(method), 502, "connection_terminated")
    assert calls == ["GET", "POST"]
    assert "gave no answer" in caplog.text


async def test_B4_both_bodies_stream_piece_by_piece(bench):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"].upper(), "more_body": more})

    wire = bench.serve(app).open("POST", chunks=[b"one"])
    await wire.until(lambda: wire.answer.body == b"ONE")
    wire.push(b"two", last=False)
    await wire.until(lambda: wire.answer.body == b"ONETWO")
    wire.push(b"three", last=True)
    answer = await wire.end()
    assert (answer.body, answer.complete) == (b"ONETWOTHREE", True)
    assert len(wire.messages) == 4


async def test_B4_a_slow_reader_slows_the_service_down(bench):
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": number < 2})
            sent.append(number)

    wire = bench.serve(app).open("GET")
    wire.taking.clear()
    await bench.clock.advance(0)
    assert sent == []
    wire.taking.set()
    await wire.end()
    assert sent == [0, 1, 2]


async def test_B4_a_body_is_not_asked_for_ahead_of_the_service(bench):
    go_on = asyncio.Event()

    async def app(scope, receive, send):
        await receive()
        await go_on.wait()
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    wire = bench.serve(app).open("POST", chunks=[b"a", b"b", b"c"])
    await wire.until(lambda: wire.asked == 1)
    await bench.clock.advance(0)
    assert wire.asked == 1
    go_on.set()
    assert (await wire.end()).status == 200
    assert wire.asked == 2


@pytest.mark.parametrize("kind", ["http_protocol_error", "proxy_internal_error", "connection_terminated"])
async def test_the_error_types_of_an_upstream_have_the_statuses_of_rfc_9209(bench, kind, caplog):
    async def app(scope, receive, send):
        raise UpstreamError(kind, "10.0.0.5:9000 said nonsense")

    answer = await bench.serve(app).ask("GET")
    assert refused(answer, {"proxy_internal_error": 500}.get(kind, 502), kind)
    assert b"10.0.0.5" not in answer.body
    assert "10.0.0.5" in caplog.text


async def test_an_error_type_without_a_rule_is_the_gateways_own_failure(bench, caplog):
    async def app(scope, receive, send):
        raise UpstreamError("of_the_future", "")

    assert refused(await bench.serve(app).ask("GET"), 500, "of_the_future")
    assert "gave no answer" in caplog.text


async def test_an_app_that_raises_is_502_and_tells_strangers_nothing(bench, caplog):
    async def app(scope, receive, send):
        raise ValueError("password=hunter2")

    answer = await bench.serve(app).ask("GET")
    assert refused(answer, 502, "connection_terminated")
    assert b"hunter2" not in answer.body
    assert "hunter2" in caplog.text


async def test_an_app_that_returns_without_an_answer_is_502(bench, caplog):
    async def app(scope, receive, send):
        return

    assert refused(await bench.serve(app).ask("GET"), 502, "connection_terminated")
    assert "gave no answer" in caplog.text


async def test_messages_in_the_wrong_order_are_502(bench, caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.body", "body": b"x"})

    assert refused(await bench.serve(app).ask("GET"), 502, "http_protocol_error")
    assert "does not follow" in caplog.text


async def test_an_app_that_fails_after_its_answer_is_logged_and_nothing_else(bench, caplog, make_echo):
    echo = make_echo()

    async def app(scope, receive, send):
        await echo(scope, receive, send)
        raise RuntimeError("background work")

    answer = await bench.serve(app).ask("GET")
    assert (answer.status, answer.complete, answer.broken) == (200, True, False)
    assert "failed after its answer" in caplog.text
    assert len(bench.log) == 1


async def test_messages_after_the_end_are_the_apps_failure(bench, caplog, make_echo):
    echo = make_echo()

    async def app(scope, receive, send):
        await echo(scope, receive, send)
        await send({"type": "http.response.body", "body": b"more"})

    answer = await bench.serve(app).ask("GET")
    assert (answer.body, answer.broken) == (b"hello", False)
    assert "does not follow" in caplog.text


async def test_a_policy_that_raises_is_500_and_tells_strangers_nothing(bench, echo, caplog):
    bench.serve(echo, routes=[Route(path="/", service="app", auth="required")])
    bench.tokens.failure = RuntimeError("secret")
    answer = await bench.ask("GET", headers=[("authorization", "Bearer x")])
    assert answer.status == 500
    assert answer["proxy-status"] == "micro; error=proxy_internal_error"
    assert b"secret" not in answer.body
    assert "secret" in caplog.text
    bench.tokens.cached = lambda token: 1 / 0
    assert (await bench.ask("GET", headers=[("authorization", "Bearer x")])).status == 500


async def test_an_unknown_path_is_404_before_any_401(bench, echo):
    bench.serve(echo, routes=[Route(path="/a", service="app", auth="required")])
    assert refused(await bench.ask("GET", "/b"), 404)
    assert (await bench.ask("GET", "/a")).status == 401


async def test_a_method_that_no_route_takes_is_405_with_allow(bench, echo):
    bench.serve(
        echo, routes=[Route(path="/a", service="app", methods=frozenset({"GET", "POST"}), auth="required")]
    )
    answer = await bench.ask("DELETE", "/a/1")
    assert refused(answer, 405)
    assert answer["allow"] == "GET, HEAD, POST"


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_valid_trace_goes_on_with_a_new_parent(bench, echo):
    await bench.serve(echo).ask(
        "GET", headers=[("traceparent", TRACE), ("tracestate", "a=1"), ("tracestate", "b=2")]
    )
    (sent,) = echo.sent("traceparent")
    assert is_traceparent(sent)
    assert (sent[:36], sent[-3:]) == (TRACE[:36], "-01")
    assert sent != TRACE
    assert echo.sent("tracestate") == ["a=1, b=2"]
    assert echo.scopes[0]["micro.context"].traceparent == sent
    assert bench.log[0].trace_id == "0af7651916cd43dd8448eb211c80319c"


async def test_a_higher_version_of_the_trace_is_read_as_this_one(bench, echo):
    await bench.serve(echo).ask("GET", headers=[("traceparent", "cc" + TRACE[2:] + "-what-follows")])
    assert echo.sent("traceparent")[0].startswith(TRACE[:36])


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", "ff" + TRACE[2:])],
        [("traceparent", TRACE.upper())],
        [("traceparent", "00-" + "0" * 32 + TRACE[35:])],
        [("traceparent", TRACE + "-x")],
        [("traceparent", TRACE), ("traceparent", TRACE)],
        [("traceparent", "\xe4")],
    ],
)
async def test_without_a_valid_trace_there_is_a_new_one_and_no_tracestate(bench, echo, headers):
    await bench.serve(echo).ask("GET", headers=[*headers, ("tracestate", "a=1")])
    (sent,) = echo.sent("traceparent")
    assert is_traceparent(sent)
    assert "0af7651916cd43dd8448eb211c80319c" not in sent
    assert echo.sent("tracestate") == []


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """What the gateway logs is looked at, not printed."""
    caplog.set_level(logging.WARNING)
