"""A listening socket that several accept from."""

from __future__ import annotations

import socket

import pytest

from micro.errors import ConfigurationError, PortInUse
from micro.runtime.sockets import listen, unbound


def test_a_socket_that_is_bound_later_listens_in_all_that_have_it() -> None:
    with unbound("127.0.0.1") as sock, sock.dup() as copy:
        listen(sock, "shop", host="127.0.0.1", port=0)
        assert copy.getsockname() == sock.getsockname()
        assert copy.getsockname()[1] > 0
        sock.close()
        with socket.create_connection(copy.getsockname(), 5) as connected:
            copy.settimeout(5)
            accepted, peer = copy.accept()
            assert peer == connected.getsockname()
            accepted.close()


def test_a_port_that_is_taken_says_whose_and_what_to_do() -> None:
    with unbound("127.0.0.1") as first, unbound("127.0.0.1") as second:
        listen(first, "shop", host="127.0.0.1", port=0)
        port = first.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"cart: 127.0.0.1:{port} is in use; choose another"):
            listen(second, "cart", host="127.0.0.1", port=port, hint="choose another")


def test_an_address_that_is_not_ours_is_an_error_of_the_configuration() -> None:
    with (
        unbound("192.0.2.1") as sock,
        pytest.raises(ConfigurationError, match=r"can't listen on 192.0.2.1:0"),
    ):
        listen(sock, "shop", host="192.0.2.1", port=0)


def test_the_family_is_that_of_the_address() -> None:
    with unbound("::1") as sock:
        assert sock.family == socket.AF_INET6
        assert sock.proto == socket.IPPROTO_TCP
