"""A server process: started once, found again by whoever asks, stopped cleanly, never lost."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from typing import ClassVar

import pytest

from micro.clock import SystemClock
from micro.infra import server as module
from micro.infra.server import Server, ServerFailed, exchange, free_ports, is_free

ECHO = """
import signal, socket, sys
if "stubborn" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(b"hello")
    connection.close()
"""


class Echo(Server):
    """Greets everybody."""

    name: ClassVar[str] = "echo"
    version: ClassVar[str] = "1"
    script = ECHO
    more: tuple[str, ...] = ()

    def find(self):
        pass

    async def prepare(self, record, tell):
        tell("preparing")

    def command(self, record):
        return [sys.executable, "-c", self.script, str(record.ports[0]), *self.more]

    def url(self, record):
        return f"echo://:{record.password}@127.0.0.1:{record.ports[0]}"

    async def answers(self, record):
        return await exchange(record.ports[0], b"", size=5) == b"hello"


@pytest.fixture
async def echo(tmp_path):
    server = Echo(tmp_path, clock=SystemClock())
    yield server
    await server.stop()


@pytest.fixture
def told():
    return []


async def test_it_answers_once_start_returns_and_is_gone_once_stop_does(echo, told):
    assert await echo.start(told.append)
    assert told == ["preparing", "starting echo 1"]
    assert await echo.answers(echo.record)
    assert await echo.stop()
    assert echo.pid is None
    assert is_free(echo.record.ports[0])


async def test_it_is_started_once_and_found_again_by_another_command(echo, told, tmp_path):
    await echo.start(told.append)
    other = Echo(tmp_path, clock=SystemClock())
    assert other.pid == echo.pid
    assert not await other.start(told.append)
    assert told.count("preparing") == 1
    assert await other.stop()
    assert echo.pid is None


async def test_it_outlives_the_command_that_started_it(echo, told):
    await echo.start(told.append)
    assert os.getsid(echo.pid) == echo.pid, "a session of its own: no Ctrl-C reaches it"
    assert os.getppid() != echo.pid


async def test_killed_it_is_seen_to_be_gone_and_starts_again_where_it_was(echo, told):
    await echo.start(told.append)
    record = echo.record
    os.kill(echo.pid, signal.SIGKILL)
    assert await echo.start(told.append)
    assert (echo.record.ports, echo.record.password) == (record.ports, record.password)


async def test_where_its_port_was_taken_meanwhile_it_gets_another_and_keeps_its_password(echo, told):
    await echo.start(told.append)
    record = echo.record
    await echo.stop()
    with socket.create_server(("127.0.0.1", record.ports[0])):
        await echo.start(told.append)
        assert echo.record.ports != record.ports
        assert echo.record.password == record.password


async def test_what_it_keeps_is_its_owner_s_alone(echo, told):
    await echo.start(told.append)
    assert stat.S_IMODE(echo.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((echo.folder / "server.json").stat().st_mode) == 0o600


async def test_one_that_does_not_start_is_told_with_the_end_of_its_log(echo, told):
    echo.script = "raise SystemExit('no licence')"
    with pytest.raises(ServerFailed, match=r"did not start.*log ends with: no licence"):
        await echo.start(told.append)
    assert echo.pid is None


async def test_one_that_ignores_the_request_to_end_is_killed(echo, told, monkeypatch):
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.05)
    echo.more = ("stubborn",)
    await echo.start(told.append)
    assert await echo.stop()
    assert echo.pid is None


async def test_stopping_what_never_ran_is_no_error(echo):
    assert not await echo.stop()
    assert echo.record is None


def test_free_ports_are_different_ones_and_free():
    ports = free_ports(3)
    assert len(set(ports)) == 3
    assert all(map(is_free, ports))


def test_a_port_that_somebody_listens_on_is_not_free():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert not is_free(taken.getsockname()[1])


async def test_an_exchange_with_nobody_gives_nothing():
    [port] = free_ports(1)
    assert await exchange(port, b"hello", size=1) == b""


async def test_one_that_runs_and_does_not_answer_is_not_taken_for_ready(echo, told, monkeypatch):
    monkeypatch.setattr(module, "START_TIMEOUT", 0.3)
    echo.script = "import time; time.sleep(60)"
    with pytest.raises(ServerFailed, match="does not answer"):
        await echo.start(told.append)
