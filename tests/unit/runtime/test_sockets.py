"""A listening socket that several accept from."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from micro.errors import ConfigurationError, PortInUse
from micro.runtime.sockets import base_url, bind, listen, unbound


def test_a_socket_that_is_bound_later_listens_in_all_that_have_it() -> None:
    with unbound("127.0.0.1") as sock, sock.dup() as copy:
        listen(sock, "shop", host="127.0.0.1", port=0)
        assert copy.getsockname() == sock.getsockname()
        assert copy.getsockname()[1] > 0
        sock.close()
        with socket.create_connection(copy.getsockname(), 5) as connected:
            copy.settimeout(60)
            accepted, peer = copy.accept()
            assert peer == connected.getsockname()
            accepted.close()


def test_a_port_in_use_names_who_wanted_it_and_what_to_do() -> None:
    with bind("gateway", "127.0.0.1", 0) as taken:
        host, port = taken.getsockname()
        with pytest.raises(PortInUse, match=rf"task: {host}:{port} is in use; use --port") as caught:
            bind("task", host, port, hint="use --port")
        assert caught.value.port == port


def test_an_address_of_another_machine_is_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match=r"gateway: can't listen on 192\.0\.2\.1:0: [A-Z]"):
        bind("gateway", "192.0.2.1", 0)


def test_a_bound_socket_sends_small_packets_at_once_and_can_be_bound_again_soon() -> None:
    with bind("gateway", "127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


class Named:
    def __init__(self, *name: Any) -> None:
        self.name = name

    def getsockname(self) -> Any:
        return self.name


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (("127.0.0.1", 80), "http://127.0.0.1:80"),
        (("0.0.0.0", 80), "http://127.0.0.1:80"),
        (("::", 80, 0, 0), "http://[::1]:80"),
    ],
)
def test_the_url_is_one_that_works_on_this_machine(name: Any, url: str) -> None:
    assert base_url(Named(*name)) == url  # type: ignore[arg-type] # all that is asked of a socket


def test_ipv6_is_bound_by_its_address() -> None:
    with bind("gateway", "::1", 0) as sock:
        assert base_url(sock).startswith("http://[::1]:")


def test_the_family_is_that_of_the_address() -> None:
    with unbound("::1") as sock:
        assert sock.family == socket.AF_INET6
        assert sock.proto == socket.IPPROTO_TCP
