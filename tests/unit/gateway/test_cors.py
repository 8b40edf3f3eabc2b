"""Cross-origin requests: preflights before everything, and answers that a browser may read, errors too."""

from __future__ import annotations

import pytest

from micro.errors import ConfigurationError
from micro.spec.gateway import Cors, Route
from micro.spec.terms import Rate

SHOP = "https://shop.example"
EVIL = "https://evil.example"
PREFLIGHT = [
    ("origin", SHOP),
    ("access-control-request-method", "PUT"),
    ("access-control-request-headers", "if-match"),
]


@pytest.fixture
def shop(bench, echo):
    routes = [Route(path="/tasks", service="app", auth="required")]
    return bench.serve(echo, routes=routes, cors=Cors(origins=(SHOP,)), rate_limit=Rate(2, 60.0))


async def test_a_preflight_is_answered_before_route_limit_and_authentication(shop, echo):
    for _ in range(5):
        answer = await shop.ask("OPTIONS", "/nowhere", headers=PREFLIGHT)
        assert (answer.status, answer.body) == (204, b"")
    assert answer["access-control-allow-origin"] == SHOP
    assert "PUT" in answer["access-control-allow-methods"]
    assert "if-match" in answer["access-control-allow-headers"]
    assert answer["access-control-max-age"] == "600"
    assert answer["vary"] == "Origin"
    assert "content-length" not in answer
    assert echo.scopes == []
    assert (await shop.ask("GET", "/tasks")).status == 401


async def test_a_preflight_of_another_origin_is_403_and_readable_by_nobody(shop):
    headers = [("origin", EVIL), ("access-control-request-method", "GET")]
    answer = await shop.ask("OPTIONS", "/tasks", headers=headers)
    assert answer.status == 403
    assert answer["proxy-status"] == "micro; error=http_request_denied"
    assert "access-control-allow-origin" not in answer
    assert answer["vary"] == "Origin"


@pytest.mark.parametrize("headers", [[], [("origin", SHOP)], [("access-control-request-method", "GET")]])
async def test_options_that_is_no_preflight_goes_on_like_any_method(shop, headers):
    assert (await shop.ask("OPTIONS", "/tasks", headers=headers)).status == 401


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/tasks", [("authorization", "Bearer good")], 200),
        ("GET", "/tasks", [], 401),
        ("GET", "/nowhere", [], 404),
        ("GET", "/tasks/../x", [], 400),
        ("POST", "/tasks", [("content-length", "9999999")], 413),
        ("GET", "/health", [], 200),
    ],
)
async def test_an_allowed_origin_may_read_every_answer(shop, method, target, headers, status):
    answer = await shop.ask(method, target, headers=[("origin", SHOP), *headers])
    assert answer.status == status
    assert answer["access-control-allow-origin"] == SHOP
    assert "x-request-id" in answer["access-control-expose-headers"]
    assert answer["vary"] == "Origin"


async def test_an_allowed_origin_may_read_that_it_was_too_fast(shop):
    for _ in range(3):
        answer = await shop.ask("GET", "/tasks", headers=[("origin", SHOP)])
    assert answer.status == 429
    assert answer["access-control-allow-origin"] == SHOP


@pytest.mark.parametrize(
    "origin", [EVIL, "null", "https://shop.example.evil.example", "http://shop.example", SHOP + ":8443"]
)
async def test_another_origin_is_served_and_may_not_read_it(shop, origin):
    answer = await shop.ask("GET", "/tasks", headers=[("origin", origin), ("authorization", "Bearer good")])
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer
    assert answer["vary"] == "Origin"


async def test_answers_vary_by_origin_even_without_one(shop):
    """Else a cache would give one origin's answer to another."""
    answer = await shop.ask("GET", "/tasks", headers=[("authorization", "Bearer good")])
    assert answer["vary"] == "Origin"
    assert "access-control-allow-origin" not in answer


async def test_a_services_own_word_is_replaced(bench, make_echo):
    own = [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("vary", "Accept"),
    ]
    bench.serve(make_echo(own), cors=Cors(origins=(SHOP,)))
    answer = await bench.ask("GET", headers=[("origin", SHOP)])
    assert answer.all("access-control-allow-origin") == [SHOP]
    assert answer.all("access-control-allow-credentials") == []
    assert answer.all("vary") == ["Accept", "Origin"]


async def test_credentials_are_allowed_where_it_says_so(bench, echo):
    bench.serve(echo, cors=Cors(origins=("HTTPS://Shop.example/",), credentials=True))
    for method, headers in (("GET", [("origin", SHOP)]), ("OPTIONS", PREFLIGHT)):
        answer = await bench.ask(method, headers=headers)
        assert answer["access-control-allow-credentials"] == "true"
        assert answer["access-control-allow-origin"] == SHOP


async def test_any_origin_is_allowed_by_a_star(bench, echo):
    bench.serve(echo, cors=Cors(origins=("*",), headers=("*",)))
    answer = await bench.ask("GET", headers=[("origin", EVIL)])
    assert answer["access-control-allow-origin"] == "*"
    assert "vary" not in answer
    answer = await bench.ask(
        "OPTIONS", headers=[*PREFLIGHT, ("access-control-request-headers", "authorization")]
    )
    assert answer["access-control-allow-headers"] == "if-match, authorization"
    answer = await bench.ask("OPTIONS", headers=PREFLIGHT[:2])
    assert answer["access-control-allow-headers"] == "*"


def test_a_star_with_credentials_is_refused(bench, echo):
    with pytest.raises(ConfigurationError, match="credentials"):
        bench.serve(echo, cors=Cors(origins=("*",), credentials=True))


async def test_without_origins_cors_is_the_services_business(bench, make_echo):
    echo = make_echo([("access-control-allow-origin", "*")], status=204)
    answer = await bench.serve(echo).ask("OPTIONS", headers=PREFLIGHT)
    assert answer["access-control-allow-origin"] == "*"
    assert "vary" not in answer
    assert echo.sent("access-control-request-method") == ["PUT"]
