"""A member that is no app of this process: what is found out about its instances, and when its program is ready."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from serving import StreamServer

from micro.clock import SystemClock
from micro.errors import ConfigurationError
from micro.gateway.deadlines import Wheel
from micro.runtime.programs.process import Launch
from micro.runtime.programs.program import Program
from micro.runtime.remote import Remote
from micro.spec.upstream import EjectionSpec, ProbeSpec, RetrySpec, TlsSpec, UpstreamSpec
from micro.stack import Member
from micro.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

LIMIT = 60.0
QUICK = UpstreamSpec(probe=ProbeSpec(interval=0.02, timeout=LIMIT, unhealthy_after=1, healthy_after=1))
HASTY = UpstreamSpec(probe=ProbeSpec(interval=0.02, timeout=0.05, unhealthy_after=1, healthy_after=1))
"""For an instance that is silent: one that answers may take longer."""
STAYS = "exec sleep 60"


class Server:
    """Answers every request with `status`; never, without one."""

    def __init__(self) -> None:
        self.status: int | None = 200
        self.asked: list[str] = []
        self.news = asyncio.Event()
        self.url = ""
        self._server = StreamServer(self._serve)

    async def open(self) -> None:
        await self._server.open()
        self.url = f"http://127.0.0.1:{self._server.port}"

    async def close(self) -> None:
        await self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.asked.append(head.partition(b" HTTP")[0].decode())
                self.news.set()
                if self.status is not None:
                    writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\n\r\n".encode())
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Remote]]:
    """`make(url=… or command=…)`; what it announces is in `make.told`."""
    wheel = Wheel(SystemClock())
    made: list[Remote] = []

    class Make:
        def __init__(self) -> None:
            self.told: list[tuple[str, str, str]] = []
            self.heard = asyncio.Event()
            self.notices: list[str] = []
            self.metrics = Metrics()

        def announce(self, *news: str) -> None:
            self.told.append(news)  # type: ignore[arg-type] # three of them
            self.heard.set()

        def __call__(self, upstream: UpstreamSpec = QUICK, **member: Any) -> Remote:
            made.append(
                Remote(
                    Member(name="sms", upstream=upstream, **member),
                    root=tmp_path,
                    wheel=wheel,
                    metrics=self.metrics,
                    announce=self.announce,
                )
            )
            return made[-1]

        async def until(self, *news: str) -> None:
            async with asyncio.timeout(LIMIT):
                while news not in self.told:
                    self.heard.clear()
                    await self.heard.wait()

    yield Make()
    for remote in made:
        if remote.program is not None:
            await remote.program.kill()
        await remote.close()
    await wheel.close()


def program(folder: Path, script: str) -> Program:
    launch = Launch(command=("/bin/sh", "-c", script), env=dict(os.environ), folder=folder, grace=LIMIT)
    return Program("sms", launch, clock=SystemClock())


async def test_its_instances_are_asked_at_their_health_path_below_their_base(
    make: Any, server: Server
) -> None:
    remote = make(url=(f"{server.url}/base/", server.url), health="/up?x=1")
    await remote.look()
    assert sorted(server.asked) == ["GET /base/up?x=1", "GET /up?x=1"]
    assert remote.verdict() == "healthy"
    assert [row["state"] for row in remote.rows()] == ["healthy", "healthy"]


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "GET /health answers 404"), (503, "GET /health answers 503")]
)
async def test_an_answer_of_400_and_above_speaks_against_it(
    make: Any, server: Server, status: int, reason: str
) -> None:
    server.status = status
    remote = make(url=(server.url,))
    await remote.look()
    assert remote.cluster.states()[0]["reason"] == reason


async def test_silence_and_a_closed_port_speak_against_it(make: Any, server: Server) -> None:
    server.status = None
    silent, closed = make(HASTY, url=(server.url,)), make(url=("http://127.0.0.1:9",))
    for remote in (silent, closed):
        await remote.look()
    assert silent.cluster.states()[0]["reason"] == "no answer"
    reason = closed.cluster.states()[0]["reason"]
    assert "refused" in reason or "Connect call failed" in reason


async def test_probes_go_on_in_the_background_and_changes_are_announced(make: Any, server: Server) -> None:
    remote = make(url=(server.url,))
    watching = asyncio.create_task(remote.watch())
    address = server.url.removeprefix("http://")
    await make.until("sms", address, "healthy")
    server.status = 500
    await make.until("sms", address, "unhealthy")
    assert remote.verdict() == "unhealthy"
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_program_is_ready_when_its_health_path_answers(
    make: Any, server: Server, tmp_path: Path
) -> None:
    remote = make(command="x")
    assert remote.rows() == []
    assert remote.verdict() == "starting"
    remote.program = program(tmp_path, STAYS)
    remote.cluster.update([server.url])
    assert remote.verdict() == "starting", "and not unhealthy before it has a process"
    server.status = 503
    await remote.begin(program(tmp_path, STAYS), server.url)
    ready = asyncio.create_task(remote.ready(LIMIT, notice=make.notices.append))
    async with asyncio.timeout(LIMIT):
        while len(server.asked) < 9:
            server.news.clear()
            await server.news.wait()
    assert not ready.done()
    server.status = 204
    await ready
    assert remote.verdict() == "healthy"
    assert remote.seconds > 0
    (row,) = remote.rows()
    assert row["pid"] == remote.program.pid
    assert (row["instance"], row["state"], row["url"]) == ("sms-1", "healthy", server.url)
    assert row["uptime"] > 0
    assert make.told == [("sms", "sms-1", "healthy")], "that it was not there at first is no news"
    assert make.notices == [], "nobody is told of what takes a moment"


async def test_whoever_waits_for_a_program_is_told_so_once(
    make: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("micro.runtime.remote._PATIENCE", 0.0)
    server.status = 503
    remote = make(command="node x.js")
    await remote.begin(program(tmp_path, STAYS), server.url)
    ready = asyncio.create_task(remote.ready(LIMIT, notice=make.notices.append))
    async with asyncio.timeout(LIMIT):
        while len(server.asked) < 5:
            server.news.clear()
            await server.news.wait()
    server.status = 200
    await ready
    assert make.notices == [
        "waiting for sms: 'node x.js' does not answer GET /health yet (GET /health answers 503); it has 60 s, Ctrl-C stops"
    ]


async def test_a_program_that_is_not_ready_in_time_gets_one_clear_sentence(
    make: Any, server: Server, tmp_path: Path
) -> None:
    server.status = 404
    remote = make(command="node x.js")
    await remote.begin(program(tmp_path, STAYS), server.url)
    with pytest.raises(ConfigurationError) as caught:
        await remote.ready(0.0, notice=make.notices.append)
    assert str(caught.value) == (
        f"sms: 'node x.js' was not ready at {server.url} within 0 s: GET /health answers 404; it has to listen on PORT "
        "of its environment, and answer GET /health"
    )


async def test_a_program_that_ends_before_it_is_ready_gets_one_clear_sentence(
    make: Any, server: Server, tmp_path: Path
) -> None:
    server.status = None
    remote = make(command="node x.js")
    await remote.begin(program(tmp_path, "echo no paper; exit 3"), server.url)
    with pytest.raises(ConfigurationError) as caught:
        await remote.ready(LIMIT, notice=make.notices.append)
    assert str(caught.value) == (
        "sms: 'node x.js' ended with code 3: no paper; it had not answered GET /health yet"
    )


async def test_a_program_that_is_down_is_unhealthy_and_one_that_ends_again_and_again_in_a_crash_loop(
    make: Any, server: Server, tmp_path: Path
) -> None:
    remote = make(command="x")
    await remote.begin(program(tmp_path, STAYS), server.url)
    await remote.ready(LIMIT, notice=make.notices.append)
    await remote.program.kill()
    assert remote.verdict() == "unhealthy"
    assert remote.rows()[0]["uptime"] is None
    remote.program._failures = 3
    assert remote.verdict() == "crash-loop"
    assert remote.rows()[0]["state"] == "crash-loop"


def test_files_of_its_settings_lie_in_the_folder_of_the_stack(make: Any, tmp_path: Path) -> None:
    tls = TlsSpec(ca="certs/ca.pem", certificate="/etc/client.pem", server_name="x")
    remote = make(UpstreamSpec(tls=tls), url=("https://127.0.0.1:9",))
    found = remote.upstream.spec.tls
    assert (found.ca, found.certificate, found.server_name) == (
        str(tmp_path / "certs/ca.pem"),
        "/etc/client.pem",
        "x",
    )


async def test_when_it_is_closed_its_gauges_are_gone(make: Any, server: Server) -> None:
    remote = make(url=(server.url,))
    assert "sms" in make.metrics.render()
    await remote.close()
    await remote.close()
    assert "127.0.0.1" not in make.metrics.render()


class TestOwn:
    """Instances of the stack's own services, in processes of their own."""

    async def test_they_get_the_clients_host_and_another_try_and_are_soon_left_alone(self, make: Any) -> None:
        remote = make(UpstreamSpec(), url=())
        spec = remote.cluster.spec
        assert remote.own
        assert spec.pass_host
        assert (spec.retry.attempts, spec.retry.budget) == (3, 100)
        assert spec.ejection.failures == 2
        assert remote.cluster.instances == ()
        assert remote.verdict() == "unhealthy"

    async def test_what_the_settings_say_otherwise_holds(self, make: Any) -> None:
        told = UpstreamSpec(
            retry=RetrySpec(attempts=1), ejection=EjectionSpec(failures=9), balance="least_requests"
        )
        spec = make(told, url=()).cluster.spec
        assert (spec.retry, spec.ejection, spec.balance) == (told.retry, told.ejection, "least_requests")

    @pytest.mark.parametrize(("health", "asked"), [("/health", "/health/ready"), ("/up", "/up")])
    async def test_they_are_asked_whether_they_may_get_traffic(
        self, make: Any, server: Server, health: str, asked: str
    ) -> None:
        remote = make(url=(), health=health)
        remote.cluster.update([server.url])
        await remote.look({server.url, "http://127.0.0.1:1"})
        assert server.asked == [f"GET {asked}"]
        assert remote.verdict() == "healthy"
        await remote.look({"http://127.0.0.1:1"})
        assert len(server.asked) == 1

    async def test_a_program_is_asked_what_it_knows_and_gets_no_token_of_the_stack(
        self, make: Any, server: Server
    ) -> None:
        remote = make(url=(), command="prices", health="/health")
        assert remote.own
        assert (remote.cluster.spec.pass_host, remote.cluster.spec.retry.attempts) == (False, 3)
        assert remote.upstream.proof is None
        remote.cluster.update([server.url])
        assert remote.verdict() == "starting"
        await remote.look()
        assert server.asked == ["GET /health"]
        assert remote.verdict() == "healthy"
        assert [row["instance"] for row in remote.rows()] == [server.url.partition("://")[2]]

    async def test_others_are_treated_as_their_table_says(self, make: Any) -> None:
        remote = make(UpstreamSpec(), url=("http://127.0.0.1:1",))
        assert not remote.own
        assert remote.cluster.spec == UpstreamSpec()
        assert remote.upstream.proof is None
