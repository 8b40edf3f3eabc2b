"""Rules H1-H10 and T1-T7 of the reference: fields of a connection, and who a client is. A test is named after its rule."""

# ruff: noqa: N802 - tests are named after the rules

from __future__ import annotations

import pytest

from micro.gateway.upstream.local import LocalUpstream
from micro.spec.gateway import Route

PROXY = "10.0.0.9"
TRUSTED = {"trusted_proxies": ("10.0.0.0/8",)}


async def test_H1_connection_and_the_fields_it_names_end_at_the_gateway_on_the_way_in(bench, echo):
    headers = [("connection", "close, X-Hop ,x-other"), ("x-hop", "1"), ("X-Other", "2"), ("x-kept", "3")]
    await bench.serve(echo).ask("GET", headers=headers)
    assert echo.sent("x-kept") == ["3"]
    for name in ("connection", "x-hop", "x-other"):
        assert echo.sent(name) == []


async def test_H1_connection_and_the_fields_it_names_end_at_the_gateway_on_the_way_back(bench, make_echo):
    echo = make_echo(
        [
            ("connection", "x-hop"),
            ("Connection", "x-other"),
            ("x-hop", "1"),
            ("x-other", "2"),
            ("x-kept", "3"),
        ]
    )
    answer = await bench.serve(echo).ask("GET")
    assert answer["x-kept"] == "3"
    assert not {"connection", "x-hop", "x-other"} & {name.decode() for name, _ in answer.headers}


async def test_H1_connection_cannot_take_out_what_the_gateway_adds_or_what_addresses_the_message(bench, echo):
    named = "x-request-id, x-forwarded-for, traceparent, host, content-length"
    await bench.serve(echo).ask("POST", headers=[("connection", named)], body=b"abc")
    for name in ("x-request-id", "x-forwarded-for", "traceparent", "host", "content-length"):
        assert len(echo.sent(name)) == 1


HOP_BY_HOP = (
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
)


@pytest.mark.parametrize("name", HOP_BY_HOP)
async def test_H2_known_fields_of_a_connection_go_even_where_nobody_names_them(bench, make_echo, name):
    echo = make_echo([(name, "x")])
    answer = await bench.serve(echo).ask("GET", headers=[(name, "x")])
    assert echo.sent(name) == []
    assert name not in answer


async def test_H2_transfer_encoding_ends_at_the_gateway_in_both_directions(bench, make_echo):
    echo = make_echo([("transfer-encoding", "chunked")])
    wire = bench.serve(echo).open("POST", headers=[("transfer-encoding", "chunked")], chunks=[b"ab"])
    wire.push(b"c", last=True)
    answer = await wire.end()
    assert echo.sent("transfer-encoding") == []
    assert "transfer-encoding" not in answer


async def test_H3_te_does_not_go_on(bench, echo):
    await bench.serve(echo).ask("GET", headers=[("te", "trailers, deflate"), ("connection", "te")])
    assert echo.sent("te") == []


async def test_H4_an_upgrade_to_another_protocol_than_websocket_is_ignored(bench, echo):
    headers = [("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")]
    answer = await bench.serve(echo).ask("GET", headers=headers)
    assert answer.status == 200
    assert echo.sent("upgrade") == []


async def test_H5_via_is_added_to_requests(bench, echo):
    bench.serve(echo)
    await bench.ask("GET")
    (own,) = echo.sent("via")
    assert own.startswith("1.1 micro-")
    await bench.ask("GET", headers=[("via", "1.0 fred"), ("via", "1.1 example.com")], http_version="1.0")
    assert echo.sent("via") == ["1.0 fred, 1.1 example.com, " + own.replace("1.1", "1.0")]


async def test_H6_a_request_that_comes_back_is_not_sent_on_again(bench, echo):
    await bench.serve(echo).ask("GET")
    (via,) = echo.sent("via")
    answer = await bench.ask("GET", headers=[("via", f"{via}, 1.1 other")])
    assert answer.status == 502
    assert answer["proxy-status"] == "micro; error=proxy_loop_detected"
    assert len(echo.scopes) == 1


async def test_H6_two_gateways_do_not_take_each_other_for_themselves(bench, echo):
    await bench.serve(echo).ask("GET")
    (via,) = echo.sent("via")
    await bench.serve(echo).ask("GET", headers=[("via", via)])
    assert echo.sent("via")[0].startswith(f"{via}, 1.1 micro-")


async def test_H6_max_forwards_ends_and_is_counted_down_for_options(bench, echo):
    bench.serve(echo)
    answer = await bench.ask("OPTIONS", headers=[("max-forwards", "0")])
    assert (answer.status, answer.body, echo.scopes) == (204, b"", [])
    assert "GET" in answer["allow"]
    await bench.ask("OPTIONS", headers=[("max-forwards", "3")])
    assert echo.sent("max-forwards") == ["2"]
    await bench.ask("GET", headers=[("max-forwards", "0")])
    assert echo.sent("max-forwards") == ["0"]
    assert (await bench.ask("OPTIONS", headers=[("max-forwards", "-1")])).status == 400


async def test_H7_allow_challenges_and_credentials_of_others_pass_unchanged(bench, make_echo):
    challenge = 'Basic realm="shop", charset="UTF-8"'
    echo = make_echo([("www-authenticate", challenge), ("allow", "GET,  PATCH")], status=405)
    answer = await bench.serve(echo).ask("GET", headers=[("authorization", "Basic  dTpw")])
    assert (answer["www-authenticate"], answer["allow"]) == (challenge, "GET,  PATCH")
    assert echo.sent("authorization") == ["Basic  dTpw"]


async def test_H8_a_body_is_passed_on_as_it_is(bench, make_echo):
    echo = make_echo([("cache-control", "no-transform"), ("etag", '"x"')], body=bytes(range(256)))
    answer = await bench.serve(echo).ask("GET", headers=[("accept-encoding", "gzip")])
    assert answer.body == bytes(range(256))
    assert (answer["cache-control"], answer["etag"]) == ("no-transform", '"x"')


async def test_H9_duplicate_fields_and_their_order_are_kept_in_both_directions(bench, make_echo):
    cookies = [("set-cookie", "a=1"), ("x-b", "1"), ("set-cookie", "c=2; Path=/")]
    echo = make_echo(cookies)
    answer = await bench.serve(echo).ask("GET", headers=[("accept", "a/b"), ("x-a", "1"), ("accept", "c/d")])
    assert echo.sent("accept") == ["a/b", "c/d"]
    assert [name for name, _ in echo.scopes[0]["headers"]][1:4] == [b"accept", b"x-a", b"accept"]
    assert answer.all("set-cookie") == ["a=1", "c=2; Path=/"]


@pytest.mark.parametrize(
    "name",
    [
        "x_forwarded_for",
        "x-forwarded_for",
        "x_request_id",
        "transfer_encoding",
        "content_length",
        "x_user_id",
    ],
)
async def test_H10_an_underscore_does_not_bring_a_field_past_the_gateway(bench, echo, name):
    await bench.serve(echo).ask("GET", headers=[(name, "1"), ("x_mine", "2")])
    assert echo.sent(name) == []
    assert echo.sent("x_mine") == ["2"]


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "x-real-ip"])
async def test_T1_a_stranger_is_not_believed_about_addresses(bench, echo, name):
    value = "for=192.0.2.1" if name == "forwarded" else "192.0.2.1"
    await bench.serve(echo).ask("GET", headers=[(name, value)])
    assert echo.scopes[0]["client"] == ("203.0.113.7", 50123)
    assert bench.log[0].client == "203.0.113.7"


async def test_T1_not_even_loopback_is_trusted_unless_it_is_said_so(bench, echo):
    headers = [("x-forwarded-for", "192.0.2.1"), ("x-request-id", "theirs")]
    await bench.serve(echo).ask("GET", headers=headers, client=("127.0.0.1", 1))
    assert echo.sent("x-forwarded-for") == ["127.0.0.1"]
    assert echo.sent("x-request-id") != ["theirs"]


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 10.1.2.3", "192.0.2.1"),
        ("10.0.0.3, 10.0.0.4", "10.0.0.3"),
        ("6.6.6.6, garbage", PROXY),
        ("192.0.2.1:4711", "192.0.2.1"),
    ],
)
async def test_T2_the_client_is_the_first_untrusted_address_from_the_right(bench, echo, value, client):
    bench.serve(echo, **TRUSTED)
    await bench.ask("GET", headers=[("x-forwarded-for", value)], client=(PROXY, 1))
    assert echo.scopes[0]["client"][0] == client
    assert bench.log[0].client == client


async def test_T2_several_lines_count_as_one_list(bench, echo):
    bench.serve(echo, **TRUSTED)
    headers = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1, 10.0.0.2")]
    await bench.ask("GET", headers=headers, client=(PROXY, 1))
    assert echo.scopes[0]["client"] == ("192.0.2.1", 0)
    assert echo.sent("x-forwarded-for") == ["6.6.6.6, 192.0.2.1, 10.0.0.2, 10.0.0.9"]


async def test_T2_forwarded_is_read_where_there_is_no_x_forwarded_for(bench, echo):
    bench.serve(echo, **TRUSTED)
    forwarded = 'for=6.6.6.6, for="[2001:db8::1]:80";proto=https, For=10.0.0.2;by=10.0.0.1'
    await bench.ask("GET", headers=[("forwarded", forwarded)], client=(PROXY, 1))
    assert echo.scopes[0]["client"][0] == "2001:db8::1"
    await bench.ask(
        "GET", headers=[("forwarded", forwarded), ("x-forwarded-for", "192.0.2.9")], client=(PROXY, 1)
    )
    assert echo.scopes[1]["client"][0] == "192.0.2.9"


async def test_T3_what_a_stranger_says_about_the_client_is_replaced(bench, echo):
    headers = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=1.1.1.1"),
        ("x-real-ip", "1.1.1.1"),
        ("x-original-url", "/admin"),
    ]
    await bench.serve(echo).ask("GET", headers=headers)
    assert echo.sent("x-forwarded-for") == ["203.0.113.7"]
    assert echo.sent("x-forwarded-proto") == ["http"]
    assert echo.sent("x-forwarded-host") == ["localhost"]
    for name in ("x-forwarded-prefix", "forwarded", "x-real-ip", "x-original-url"):
        assert echo.sent(name) == []


SPOOFED = (
    "x-user-id",
    "x-user-role",
    "x-user-scopes",
    "remote-user",
    "x-authenticated-userid",
    "x-forwarded-user",
)


async def test_T3_a_stranger_does_not_tell_the_services_who_the_user_is(bench, echo):
    await bench.serve(echo).ask("GET", headers=[(name, "admin") for name in SPOOFED])
    assert [echo.sent(name) for name in SPOOFED] == [[]] * len(SPOOFED)


async def test_T3_a_trusted_proxy_may_tell_who_the_user_is(bench, echo):
    bench.serve(echo, **TRUSTED)
    await bench.ask("GET", headers=[(name, "ann") for name in SPOOFED], client=(PROXY, 1))
    assert [echo.sent(name) for name in SPOOFED] == [["ann"]] * len(SPOOFED)


async def test_T3_a_request_id_is_taken_from_trusted_peers_only(bench, echo):
    bench.serve(echo, **TRUSTED)
    answer = await bench.ask("GET", headers=[("x-request-id", "theirs")])
    assert answer["x-request-id"] != "theirs"
    answer = await bench.ask("GET", headers=[("x-request-id", "theirs")], client=(PROXY, 1))
    assert answer["x-request-id"] == "theirs"
    assert echo.sent("x-request-id") == ["theirs"]


@pytest.mark.parametrize("value", ["", "a b", "x" * 129, "a\xe4", "a;b", "a\nb"])
async def test_T3_a_malformed_request_id_is_not_taken_from_anyone(bench, echo, value):
    bench.serve(echo, **TRUSTED)
    answer = await bench.ask("GET", headers=[("x-request-id", value)], client=(PROXY, 1))
    assert len(answer["x-request-id"]) == 36


async def test_T3_a_trusted_peers_word_is_kept_and_extended(bench, echo):
    bench.serve(echo, **TRUSTED)
    headers = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-port", "443"),
        ("forwarded", "for=192.0.2.1;proto=https"),
    ]
    await bench.ask("GET", headers=headers, client=(PROXY, 1))
    assert echo.sent("x-forwarded-for") == ["192.0.2.1, 10.0.0.9"]
    assert echo.sent("x-forwarded-proto") == ["https"]
    assert echo.sent("x-forwarded-host") == ["shop.example"]
    assert echo.sent("x-forwarded-port") == ["443"]
    assert echo.sent("forwarded") == ["for=192.0.2.1;proto=https, for=10.0.0.9;proto=http"]


async def test_T3_a_trusted_peer_that_says_nothing_is_named_itself(bench, echo):
    bench.serve(echo, **TRUSTED)
    await bench.ask("GET", client=(PROXY, 1))
    assert echo.sent("x-forwarded-for") == [PROXY]
    assert echo.sent("x-forwarded-proto") == ["http"]
    assert echo.scopes[0]["client"] == (PROXY, 1)


async def test_T4_an_ipv6_node_in_forwarded_is_bracketed_and_quoted(bench, echo):
    bench.serve(echo, trusted_proxies=("2001:db8::/32",))
    await bench.ask("GET", headers=[("forwarded", "for=192.0.2.1")], client=("2001:db8::5", 1))
    assert echo.sent("forwarded") == ['for=192.0.2.1, for="[2001:db8::5]";proto=http']


async def test_T4_an_ipv4_mapped_address_is_its_ipv4_address(bench, echo):
    await bench.serve(echo).ask("GET", client=("::ffff:192.0.2.1", 1))
    assert echo.scopes[0]["client"] == ("192.0.2.1", 0)
    assert bench.log[0].client == "192.0.2.1"


async def test_T5_a_peer_without_an_address_is_served(bench, echo):
    """A Unix socket has none."""
    answer = await bench.serve(echo).ask("GET", client=None)
    assert answer.status == 200
    assert echo.scopes[0]["client"] is None


async def test_T5_many_peers_do_not_fill_the_memory(bench, echo):
    bench.serve(echo)
    for number in range(600):
        await bench.ask("GET", client=(f"10.0.{number // 250}.{number % 250}", 1))
    identification = bench.gateway.plan.global_policies[0]
    assert len(identification._known) <= 256


@pytest.mark.parametrize(
    "headers",
    [
        [("host", "(none)")],
        [("host", "localhost"), ("host", "localhost")],
        [("host", "localhost"), ("host", "evil.example")],
        [("host", "")],
        [("host", "local host")],
        [("host", "localhost:99999")],
        [("host", "localhost:x")],
        [("host", "user@localhost")],
        [("host", "evil.example")],
    ],
)
async def test_T6_a_missing_repeated_malformed_or_unknown_host_is_400(bench, echo, headers):
    answer = await bench.serve(echo).ask("GET", headers=headers)
    assert answer.status == 400
    assert answer["content-type"] == "application/problem+json"
    assert echo.scopes == []


async def test_T6_known_hosts_are_served_and_health_is_for_any(bench, echo):
    bench.serve(echo, hosts=("shop.example", "*.test"))
    for host in ("shop.example", "SHOP.example:8000", "a.test"):
        assert (await bench.ask("GET", headers=[("host", host)])).status == 200
    assert (await bench.ask("GET", headers=[("host", "localhost")])).status == 400
    assert (await bench.ask("GET", "/health", headers=[("host", "10.0.0.1")])).status == 200
    assert (await bench.ask("GET", "/healthy", headers=[("host", "10.0.0.1")])).status == 400


async def test_T6_many_spellings_of_a_host_do_not_fill_the_memory(bench, echo):
    bench.serve(echo, hosts=("*",))
    for number in range(300):
        await bench.ask("GET", headers=[("host", f"h{number}.example")])
    known = bench.gateway.plan.global_policies[3]
    assert len(known._known) == 256


async def test_T7_host_goes_on_as_received(bench, echo):
    await bench.serve(echo).ask("GET", headers=[("host", "LocalHost:8000")])
    assert echo.sent("host") == ["LocalHost:8000"]


async def test_the_correlation_id_is_taken_from_anyone_where_it_is_well_formed(bench, echo):
    bench.serve(echo)
    answer = await bench.ask("GET", headers=[("x-correlation-id", "order-1.2_3")])
    assert answer["x-correlation-id"] == "order-1.2_3"
    assert echo.sent("x-correlation-id") == ["order-1.2_3"]
    assert echo.scopes[0]["micro.context"].correlation_id == "order-1.2_3"


@pytest.mark.parametrize("value", [None, "", "a b", "x" * 129, "\xe4"])
async def test_the_correlation_id_is_the_request_id_otherwise(bench, echo, value):
    headers = [] if value is None else [("x-correlation-id", value)]
    answer = await bench.serve(echo).ask("GET", headers=headers)
    assert answer["x-correlation-id"] == answer["x-request-id"]


async def test_the_ids_are_the_gateways_to_echo(bench, make_echo):
    echo = make_echo([("X-Request-Id", "theirs"), ("x-correlation-id", "theirs")])
    answer = await bench.serve(echo).ask("GET")
    assert answer["x-request-id"] == echo.sent("x-request-id")[0]
    assert answer["x-correlation-id"] == echo.sent("x-correlation-id")[0]


async def test_the_date_is_the_servers(bench, make_echo):
    """Uvicorn stamps every answer, so an application's own would come twice."""
    answer = await bench.serve(make_echo([("date", "Thu, 01 Jan 1970 00:00:00 GMT")])).ask("GET")
    assert "date" not in answer


async def test_refusals_carry_the_ids_and_name_the_request(bench, echo):
    bench.serve(upstreams={"app": LocalUpstream(echo)}, routes=[Route(path="/a", service="app")])
    answer = await bench.ask("GET", "/b", headers=[("x-correlation-id", "mine")])
    assert answer["x-correlation-id"] == "mine"
    assert answer.json()["request_id"] == answer["x-request-id"]
