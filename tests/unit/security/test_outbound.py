"""Posting to URLs that users chose: to real listeners on this machine, which the rules must keep out of reach."""

from __future__ import annotations

import asyncio

import pytest

from micro.errors import CallError
from micro.security import outbound
from micro.security.outbound import ForbiddenTarget, Outbound, authorities, is_public, resolve


def answering(*rounds):
    """A resolver that gives the addresses of one round after the other, then fails."""
    left = list(rounds)

    async def resolver(host, port):
        return left.pop(0)

    return resolver


async def test_a_post_arrives_as_it_was_given(listening):
    """Path and query untouched, headers and body as passed, Host as in the URL."""
    async with listening() as server:
        url = f"http://127.0.0.1:{server.port}/a%20b/?q=%2F&x=1"
        assert await Outbound("127.0.0.1").post(url, b'{"a": 1}', {"X-Test": "yes"}) == 204
    ((line, headers, body),) = server.requests
    assert line == "POST /a%20b/?q=%2F&x=1 HTTP/1.1"
    assert (headers["x-test"], headers["host"]) == ("yes", f"127.0.0.1:{server.port}")
    assert body == b'{"a": 1}'


@pytest.mark.parametrize(("path", "sent"), [("", "/"), ("?a=b", "/?a=b"), ("/x#part", "/x"), ("//x", "//x")])
async def test_a_missing_path_is_the_root_and_a_fragment_stays_here(path, sent, listening):
    """RFC 9110 section 4.2.5."""
    async with listening() as server:
        await Outbound("127.0.0.1").post(f"http://127.0.0.1:{server.port}{path}", b"", {})
    assert server.requests[0][0] == f"POST {sent} HTTP/1.1"


@pytest.mark.parametrize("status", [200, 201, 400, 404, 429, 500, 503])
async def test_every_status_is_an_answer(status, listening):
    """What it means is the caller's business."""
    async with listening(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()) as server:
        assert await Outbound("127.0.0.1").post(f"http://127.0.0.1:{server.port}/", b"", {}) == status


async def test_a_redirect_is_not_followed(listening):
    """It would lead past every check."""
    async with listening() as inside:
        location = f"Location: http://127.0.0.1:{inside.port}/\r\n".encode()
        async with listening(b"HTTP/1.1 307 X\r\n" + location + b"Content-Length: 0\r\n\r\n") as server:
            assert await Outbound("127.0.0.1").post(f"http://127.0.0.1:{server.port}/", b"", {}) == 307
    assert inside.connections == 0


async def test_a_url_is_not_logged(listening, caplog):
    """A webhook's URL is often all that is needed to use it."""
    caplog.set_level("INFO")
    async with listening() as server:
        await Outbound("127.0.0.1").post(f"http://127.0.0.1:{server.port}/s3cret", b"", {})
    assert "s3cret" not in caplog.text


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch, listening):
    """It would resolve the name once more, by itself."""
    async with listening() as server, listening() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await Outbound("127.0.0.1").post(f"http://127.0.0.1:{server.port}/", b"", {})
    assert (server.connections, proxy.connections) == (1, 0)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:5db8:d822::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",
        "ff02::1",
    ],
)
async def test_an_address_of_our_own_is_never_reached_by_a_name_that_is_not_listed(address):
    """Loopback, private, shared, link-local, the clouds' metadata, multicast, reserved, and all of these in IPv6."""
    assert not is_public(address)
    with pytest.raises(ForbiddenTarget, match="not public"):
        await Outbound(resolve=answering([address])).post("http://hooks.example/", b"", {})


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "1.1.1.1",
        "172.32.0.1",
        "2606:2800:220:1::1",
        "2a00:1450::1",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
    ],
)
def test_an_address_of_the_internet_is_public(address):
    """Also one that a translator (NAT64) or a socket dresses as IPv6."""
    assert is_public(address)


async def test_one_bad_address_among_good_ones_is_enough_to_refuse():
    """Which of them would be tried is not ours to say."""
    for addresses in (["1.1.1.1", "10.0.0.1"], ["10.0.0.1", "1.1.1.1"]):
        with pytest.raises(ForbiddenTarget):
            await Outbound(resolve=answering(addresses)).post("http://hooks.example/", b"", {})


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
    ],
)
async def test_this_machine_is_not_reached_under_any_of_its_names(host, listening):
    """Whatever the resolver makes of it is checked, not what it looks like; some resolvers know fewer."""
    async with listening() as server:
        with pytest.raises(CallError):
            await Outbound().post(f"http://{host}:{server.port}/", b"", {})
    assert server.connections == 0


async def test_this_machine_is_not_reached_by_ipv6(listening):
    """Nor by an IPv4 address in brackets."""
    async with listening() as server:
        for host in ("[::1]", "[::ffff:127.0.0.1]", "[::]"):
            with pytest.raises(ForbiddenTarget):
                await Outbound().post(f"http://{host}:{server.port}/", b"", {})
    assert server.connections == 0


@pytest.mark.parametrize(
    "hosts", ["hooks.example", "HOOKS.example", " x , hooks.example ", "*,hooks.example"]
)
async def test_a_host_that_is_listed_may_have_any_address(hosts, listening):
    """The operator named it; the connection goes where its name leads, with the name as Host."""
    async with listening() as server:
        out = Outbound(hosts, resolve=answering(["127.0.0.1"]))
        assert await out.post(f"http://hooks.example:{server.port}/", b"", {}) == 204
    assert server.requests[0][1]["host"] == f"hooks.example:{server.port}"


async def test_a_host_may_be_listed_with_its_port(listening):
    """Then its other ports stay out of reach."""
    async with listening() as server:
        out = Outbound(f"127.0.0.1:{server.port}")
        assert await out.post(f"http://127.0.0.1:{server.port}/", b"", {}) == 204
        with pytest.raises(ForbiddenTarget):
            await out.post("http://127.0.0.1:1/", b"", {})


async def test_the_port_of_the_scheme_counts_as_given():
    """`http://a.example` and `http://a.example:80` are one place."""
    out = Outbound("a.example:80", resolve=answering(["1.1.1.1"]))
    with pytest.raises(ForbiddenTarget, match="not one of those allowed"):
        await out.post("https://a.example/", b"", {})


@pytest.mark.parametrize("hosts", ["", "other.example", "example", "hooks.example:81", ".example"])
async def test_without_the_star_only_listed_hosts_are_taken(hosts):
    """Not their parents, children or neighbours, and none for an empty list."""
    out = Outbound(hosts, resolve=answering(["1.1.1.1"]))
    with pytest.raises(ForbiddenTarget, match="not one of those allowed"):
        await out.post("http://hooks.example/", b"", {})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/path",
        "hooks.example",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:25/x",
        "http:///path",
        "http://",
        "http://:80/",
        "http://user@hooks.example/",
        "http://user:secret@hooks.example/",
        "http://good.example\\@127.0.0.1/",
        "http://good.example@127.0.0.1/",
        "http://hooks.example:99999/",
        "http://hooks.example:x/",
        "http://[::1/",
        "http://hooks.example/a b",
        "http://hooks.example/\r\nX-Evil: 1",
        "http://hooks.example/\x00",
        "http://häuser.example/",
        " http://hooks.example/",
    ],
)
async def test_what_is_not_a_plain_web_address_is_refused(url):
    """Before anything is resolved: one reading of a URL, and no credentials in it."""
    with pytest.raises(ForbiddenTarget):
        await Outbound(resolve=answering()).post(url, b"", {})


async def test_a_name_is_resolved_once_and_connected_to_where_it_was_checked(listening):
    """DNS rebinding: the second answer, an address of ours, is never asked for."""
    async with listening() as server:
        asked = answering(["127.0.0.1"], ["10.0.0.1"])
        assert (
            await Outbound("hooks.example", resolve=asked).post(
                f"http://hooks.example:{server.port}/", b"", {}
            )
            == 204
        )
    assert await asked("hooks.example", 80) == ["10.0.0.1"]


async def test_each_request_is_checked_anew(listening):
    """A name that was public a moment ago may be ours now."""
    async with listening() as server:
        out = Outbound(resolve=answering(["127.0.0.1"], ["127.0.0.1"]))
        for _ in range(2):
            with pytest.raises(ForbiddenTarget):
                await out.post(f"http://hooks.example:{server.port}/", b"", {})
    assert server.connections == 0


async def test_the_next_address_is_tried_when_one_can_t_be_reached(listening):
    """As browsers do."""
    async with listening() as server:
        out = Outbound("hooks.example", resolve=answering(["127.0.0.3", "127.0.0.1"]))
        assert await out.post(f"http://hooks.example:{server.port}/", b"", {}) == 204
    assert len(server.requests) == 1


async def test_nobody_there_is_no_answer(listening):
    """The reason names no address."""
    async with listening() as server:
        port = server.port
    with pytest.raises(CallError, match="could not be reached") as failure:
        await Outbound("127.0.0.1").post(f"http://127.0.0.1:{port}/", b"", {})
    assert not isinstance(failure.value, ForbiddenTarget)
    assert failure.value.__cause__ is not None


async def test_a_host_without_addresses_is_no_answer():
    """An empty list of addresses is nobody to talk to."""
    with pytest.raises(CallError, match="could not be reached"):
        await Outbound(resolve=answering([])).post("http://hooks.example/", b"", {})


async def test_a_name_that_does_not_resolve_is_no_answer():
    """It may tomorrow."""

    async def lost(host, port):
        raise OSError("no such name")

    with pytest.raises(CallError, match="could not be resolved") as failure:
        await Outbound(resolve=lost).post("http://hooks.example/", b"", {})
    assert not isinstance(failure.value, ForbiddenTarget)


async def test_what_can_t_be_a_name_is_refused():
    """A label of a host has at most 63 characters (RFC 1035)."""
    with pytest.raises(ForbiddenTarget, match="name of a host"):
        await Outbound().post(f"http://{'a' * 64}.example/", b"", {})


async def test_the_real_resolver_knows_this_machine():
    """Each address once."""
    found = await resolve("127.0.0.1", 80)
    assert found == ["127.0.0.1"]


async def test_a_body_without_end_is_not_read(listening):
    """The status is the answer; the rest is cut off."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
    async with asyncio.timeout(60), listening(head, endless=b"x" * 65536) as server:
        assert await Outbound("127.0.0.1").post(f"http://127.0.0.1:{server.port}/", b"", {}) == 200


async def test_headers_without_end_are_cut_off(listening):
    """Memory is bounded."""
    async with (
        asyncio.timeout(60),
        listening(b"HTTP/1.1 200 OK\r\n", endless=b"X-More: x\r\n" * 1000) as server,
    ):
        with pytest.raises(CallError, match="gave no answer"):
            await Outbound("127.0.0.1").post(f"http://127.0.0.1:{server.port}/", b"", {})


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
async def test_what_is_not_http_is_no_answer(answer, listening):
    """Another protocol, a cut head, a malformed one."""
    async with listening(answer) as server:
        with pytest.raises(CallError, match="gave no answer"):
            await Outbound("127.0.0.1").post(f"http://127.0.0.1:{server.port}/", b"", {})


async def test_silence_is_no_answer(monkeypatch, listening):
    """After the limit, which is short here."""
    monkeypatch.setattr(outbound, "SECONDS", 0.05)
    async with listening(b"") as server:
        with pytest.raises(CallError, match="gave no answer"):
            await Outbound("127.0.0.1").post(f"http://127.0.0.1:{server.port}/", b"", {})


async def test_a_certificate_must_be_for_the_name_not_for_the_address(certificate, listening):
    """The name goes into the handshake (SNI) and is verified, although the connection is made by address."""
    server_side, trusted = certificate("hooks.example")
    async with listening(tls=server_side) as server:
        out = Outbound("hooks.example", resolve=answering(["127.0.0.1"]), authorities=lambda: trusted)
        assert await out.post(f"https://hooks.example:{server.port}/", b"", {}) == 204
    assert server.names == ["hooks.example"]


async def test_a_certificate_of_another_name_is_refused(certificate, listening):
    """Nothing is sent."""
    server_side, trusted = certificate("other.example")
    async with listening(tls=server_side) as server:
        out = Outbound("hooks.example", resolve=answering(["127.0.0.1"]), authorities=lambda: trusted)
        with pytest.raises(CallError, match="could not be reached"):
            await out.post(f"https://hooks.example:{server.port}/", b"secret", {})
    assert server.requests == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate, listening):
    """By the authorities that are trusted unless said otherwise."""
    server_side, _ = certificate("hooks.example")
    async with listening(tls=server_side) as server:
        out = Outbound("hooks.example", resolve=answering(["127.0.0.1"]))
        with pytest.raises(CallError, match="could not be reached"):
            await out.post(f"https://hooks.example:{server.port}/", b"secret", {})
    assert server.requests == []


def test_the_trusted_authorities_are_read_once():
    """And are those of httpx, strict about names."""
    assert authorities() is authorities()
    assert authorities().check_hostname
