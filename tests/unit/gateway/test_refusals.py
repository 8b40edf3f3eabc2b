"""Answers in a service's place: whoever refuses, they look the same, and browsers may read them."""

from __future__ import annotations

import pytest

from micro.gateway import refusals
from micro.gateway.exchange import Exchange
from micro.gateway.refusals import fail, refuse, refuse_by
from micro.gateway.upstream.local import LocalUpstream
from micro.gateway.upstream.ports import UpstreamError
from micro.security.api_keys import digest_of
from micro.security.keys import SigningKey
from micro.security.stack_key import StackIssuer
from micro.spec.gateway import ApiKey, Cors, Route
from micro.spec.terms import Rate
from micro.web.problems import Problem

ORIGIN = "https://app.example"

# RFC 9209 section 2.3: every error type that has a recommended status of its own
RFC_9209 = {
    "dns_timeout": 504,
    "dns_error": 502,
    "destination_not_found": 500,
    "destination_unavailable": 503,
    "destination_ip_prohibited": 502,
    "destination_ip_unroutable": 502,
    "connection_refused": 502,
    "connection_terminated": 502,
    "connection_timeout": 504,
    "connection_read_timeout": 504,
    "connection_write_timeout": 504,
    "connection_limit_reached": 503,
    "tls_protocol_error": 502,
    "tls_certificate_error": 502,
    "tls_alert_received": 502,
    "http_response_incomplete": 502,
    "http_response_header_section_size": 502,
    "http_response_header_size": 502,
    "http_response_body_size": 502,
    "http_response_trailer_section_size": 502,
    "http_response_trailer_size": 502,
    "http_response_transfer_coding": 502,
    "http_response_content_coding": 502,
    "http_response_timeout": 504,
    "http_upgrade_failed": 502,
    "http_protocol_error": 502,
    "proxy_internal_error": 500,
    "proxy_configuration_error": 500,
    "proxy_loop_detected": 502,
}


def exchange():
    made = Exchange("GET", b"/", [])
    made.request_id = "r1"
    return made


@pytest.mark.parametrize(("kind", "status"), RFC_9209.items())
def test_every_error_type_has_the_status_that_the_standard_recommends(kind, status):
    refused = exchange()
    answer = fail(refused, kind)
    fields = dict(answer.headers)
    assert (answer.status, refused.error) == (status, kind)
    assert fields[b"proxy-status"] == f"micro; error={kind}".encode()
    assert fields[b"cache-control"] == b"no-store"
    assert (b"retry-after" in fields) == (status == 503)


def test_no_error_type_is_known_that_the_standard_does_not_have():
    assert refusals._FAILURES.keys() == RFC_9209.keys()


def test_a_503_keeps_a_better_word_on_when_to_come_again():
    answer = refuse_by(exchange(), Problem(503, headers={"Retry-After": "30"}))
    assert [value for name, value in answer.headers if name == b"retry-after"] == [b"30"]


def test_a_body_says_how_long_it_is():
    answer = refuse(exchange(), 400, detail="ä")
    assert dict(answer.headers)[b"content-length"] == b"%d" % len(answer.body)


class Loud:
    """An app whose failure names what clients must not get to know."""

    def __init__(self, kind=None):
        self.kind = kind

    async def __call__(self, scope, receive, send):
        text = "10.0.0.5:9000 db-7.internal refused"
        raise UpstreamError(self.kind, text) if self.kind else RuntimeError(text)


@pytest.mark.parametrize("kind", [*RFC_9209, None, "of_the_future"])
async def test_nothing_of_the_inside_is_told(bench, caplog, kind):
    """RFC 9209 section 4. The log has it."""
    answer = await bench.serve(Loud(kind)).ask("GET")
    whole = repr(answer.headers).encode() + answer.body
    assert answer.status == RFC_9209.get(kind, 502 if kind is None else 500)
    for secret in (b"10.0.0.5", b"internal", b"9000", b"Loud", b"Traceback"):
        assert secret not in whole.replace(b"proxy_internal_error", b"")
    assert "10.0.0.5:9000" in caplog.text


HOLDER = [("authorization", "Bearer good")]
REFUSED = {
    "framing": (400, {"target": "/a/../b"}),
    "version": (505, {"http_version": "9.9"}),
    "host": (400, {"headers": [("host", "evil.example")]}),
    "method": (405, {"method": "TRACE"}),
    "no route": (404, {"target": "/nowhere"}),
    "not the route's method": (405, {"target": "/read", "method": "DELETE"}),
    "size": (413, {"target": "/small", "method": "POST", "body": b"too large"}),
    "limit": (429, {"target": "/never"}),
    "no token": (401, {"target": "/admin"}),
    "bad token": (401, {"target": "/admin", "headers": [("authorization", "Bearer bad")]}),
    "no scope": (403, {"target": "/admin", "headers": HOLDER}),
    "two credentials": (400, {"target": "/keyed", "headers": [*HOLDER, ("x-api-key", "x")]}),
    "bad key": (401, {"target": "/keyed", "headers": [("x-api-key", "x")]}),
    "service failed": (502, {"target": "/broken"}),
    "service busy": (503, {"target": "/busy"}),
}


@pytest.fixture
def everything(bench, echo, clock):
    """A gateway in which every policy can refuse."""
    bench.signer = StackIssuer(SigningKey.generate(clock), clock=clock)
    busy = Loud("connection_limit_reached")
    upstreams = {
        name: LocalUpstream(app) for name, app in {"app": echo, "broken": Loud(), "busy": busy}.items()
    }
    required = {"service": "app", "auth": "required"}
    routes = [
        Route(path="/read", service="app", methods=frozenset({"GET"})),
        Route(path="/small", service="app", max_body=1),
        Route(path="/never", service="app", rate_limit=Rate(1, 60.0)),
        Route(path="/admin", roles=frozenset({"admin"}), **required),
        Route(path="/keyed", accept=("token", "api_key"), **required),
        Route(path="/broken", service="broken"),
        Route(path="/busy", service="busy"),
    ]
    keys = {"ci": ApiKey(hash=digest_of("secret"))}
    cors = Cors(origins=(ORIGIN,))
    return bench.serve(routes=routes, upstreams=upstreams, cors=cors, api_keys=keys)


@pytest.mark.parametrize(("status", "request_"), REFUSED.values(), ids=REFUSED)
async def test_every_refusal_is_a_problem_that_a_browser_may_read(everything, status, request_):
    request = {"method": "GET", "target": "/read"} | request_
    headers = [*request.pop("headers", []), ("origin", ORIGIN)]
    if request["target"] == "/never":
        await everything.ask(**request)
    answer = await everything.ask(**request, headers=headers)
    assert answer.status == status
    assert answer["content-type"] == "application/problem+json"
    assert answer["access-control-allow-origin"] == ORIGIN
    assert "Origin" in answer.all("vary")
    assert answer["cache-control"] == "no-store"
    assert answer["proxy-status"].startswith("micro; error=")
    assert answer["x-content-type-options"] == "nosniff"
    body = answer.json()
    assert (body["status"], body["request_id"]) == (status, answer["x-request-id"])
    assert body["title"]
    assert body["detail"]
    assert ("www-authenticate" in answer) == (status in {401, 403} or "credential" in body["detail"])
    assert ("retry-after" in answer) == (status in {429, 503})


@pytest.mark.parametrize(("status", "request_"), REFUSED.values(), ids=REFUSED)
async def test_a_stranger_s_origin_may_read_none(everything, status, request_):
    request = {"method": "GET", "target": "/read"} | request_
    headers = [*request.pop("headers", []), ("origin", "https://evil.example")]
    answer = await everything.ask(**request, headers=headers)
    assert "access-control-allow-origin" not in answer


async def test_a_preflight_is_answered_before_anybody_could_refuse_the_request(everything):
    """The Fetch standard sends it without credentials."""
    for target in ("/admin", "/keyed", "/never", "/never", "/small", "/broken"):
        headers = [("origin", ORIGIN), ("access-control-request-method", "POST")]
        answer = await everything.ask("OPTIONS", target, headers=headers)
        assert (answer.status, answer["access-control-allow-origin"]) == (204, ORIGIN)
        assert "ratelimit" not in answer


async def test_a_429_explains_itself_says_when_to_come_back_and_is_never_stored(bench, echo):
    """B7: RFC 6585 section 4."""
    bench.serve(echo, rate_limit=Rate(1, 60.0))
    await bench.ask("GET")
    answer = await bench.ask("GET")
    assert answer.status == 429
    assert answer.json()["detail"] == "At most 1 request in 60 seconds."
    assert (answer["retry-after"], answer["cache-control"]) == ("60", "no-store")
