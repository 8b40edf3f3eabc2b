"""What the gateway tells browsers where the service does not."""

from __future__ import annotations

import pytest

NAMES = ("x-content-type-options", "x-frame-options", "referrer-policy")
HSTS = "strict-transport-security"


async def test_an_answer_without_them_gets_them(bench, echo):
    answer = await bench.serve(echo).ask("GET")
    assert [answer[name] for name in NAMES] == ["nosniff", "SAMEORIGIN", "strict-origin-when-cross-origin"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_service_s_own_word_stands(bench, make_echo, name):
    answer = await bench.serve(make_echo([(name, "own")])).ask("GET")
    assert answer[name] == "own"
    for other in NAMES:
        assert len(answer.all(other)) == 1


async def test_refusals_and_the_gateway_s_own_endpoints_have_them_too(bench, echo):
    bench.serve(echo, routes=[])
    for target, status in (("/nowhere", 404), ("/health", 200), ("/a/../b", 400)):
        answer = await bench.ask("GET", target)
        assert (answer.status, answer["x-content-type-options"]) == (status, "nosniff")


async def test_only_tls_is_told_to_stay_tls(bench, echo):
    """RFC 6797 section 7.2."""
    bench.serve(echo)
    assert HSTS not in await bench.ask("GET")
    assert HSTS not in await bench.ask("GET", headers=[("x-forwarded-proto", "https")])
    assert (await bench.ask("GET", scheme="https"))[HSTS] == "max-age=31536000"


async def test_the_tls_of_a_trusted_proxy_counts(bench, echo):
    bench.serve(echo, trusted_proxies=("10.0.0.1",))
    request = {"client": ("10.0.0.1", 1)}
    assert HSTS in await bench.ask("GET", headers=[("x-forwarded-proto", "https")], **request)
    assert HSTS not in await bench.ask("GET", headers=[("x-forwarded-proto", "http")], **request)
    assert HSTS not in await bench.ask("GET", **request)


async def test_a_service_s_own_transport_security_stands(bench, make_echo):
    answer = await bench.serve(make_echo([(HSTS, "max-age=5")])).ask("GET", scheme="https")
    assert answer.all(HSTS) == ["max-age=5"]


async def test_they_can_be_switched_off(bench, echo):
    answer = await bench.serve(echo, security_headers=False).ask("GET", scheme="https")
    assert not any(name in answer for name in (*NAMES, HSTS))


async def test_they_are_explained(bench, echo):
    bench.serve(echo)
    assert "security headers: where the answer has none" in bench.gateway.explain("GET", "/")["policies"]
