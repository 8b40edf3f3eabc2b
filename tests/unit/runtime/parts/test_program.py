"""An instance of a member with `command`, in a process of its own: this one, here."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from micro.errors import ConfigurationError, MicroError
from micro.runtime import assemble
from micro.runtime.parts import program as program_part
from micro.runtime.parts.build import build
from micro.runtime.parts.description import Description, Start
from micro.runtime.sockets import bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

LIMIT = 60.0
PROGRAM = """
import json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/end":
            print("the end", flush=True)
            os._exit(7)
        self.send_response(500 if os.path.exists("ill") and self.path == "/up" else 200)
        self.end_headers()
        fields = {key.lower(): value for key, value in self.headers.items()}
        told = {key: value for key, value in os.environ.items() if key.startswith("MICRO_") or key in ("PORT", "WHO")}
        self.wfile.write(json.dumps({"pid": os.getpid(), "fields": fields, "told": told}).encode())

    def log_message(self, *arguments):
        pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
TOML = """
[stack]
name = "shop"
[services.prices]
command = "python3 prices.py"
routes = ["/prices"]
port = 18120
health = "/up"
env = { WHO = "me" }
depends = ["app"]
[services.app]
app = "nowhere:app"
[gateway]
policies = ["nowhere:Policy"]
"""


@pytest.fixture
def describe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Description]:
    (tmp_path / "micro.toml").write_text(TOML)
    (tmp_path / "prices.py").write_text(PROGRAM)
    monkeypatch.setattr(assemble, "SqliteJournal", lambda path: None)  # a journal belongs to one process
    monkeypatch.setattr(program_part, "LINGER", 0.0)

    def make() -> Description:
        return Description(
            role="program",
            service="prices",
            number=2,
            directory=str(tmp_path),
            profile="prod",
            store=f"sqlite:{tmp_path}/{{service}}.db",
            bus="memory:",
            cache="memory:",
            logs=str(tmp_path / "logs"),
        )

    return make


@pytest.fixture
def run(describe: Any) -> Callable[[], Any]:
    """The part and both its addresses, while it runs."""

    @asynccontextmanager
    async def running() -> AsyncIterator[tuple[Any, str, str]]:
        part = build(describe())
        public, private = bind("a service", "127.0.0.1", 0), bind("an instance", "127.0.0.1", 0)
        ours, own = (f"127.0.0.1:{each.getsockname()[1]}" for each in (public, private))
        start = Start(public=public, private=private, gateway="http://g", urls={}, peers={}, facts={})
        try:
            async with asyncio.timeout(LIMIT):
                await part.start(start)
            yield part, ours, own
        finally:
            await part.drain(1.0)
            await part.close()
            await part.close()

    return running


async def ask(address: str, path: str = "/") -> Any:
    """The status and body of an answer."""

    def asked() -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(address, timeout=LIMIT)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    return await asyncio.to_thread(asked)


async def test_it_tells_what_the_settings_say_and_loads_no_code_of_the_stack(describe: Any) -> None:
    assert build(describe()).facts == {"port": 18120, "routes": ["/prices"]}


async def test_a_program_that_is_not_there_is_told_before_anything_starts(
    describe: Any, tmp_path: Path
) -> None:
    (tmp_path / "micro.toml").write_text(TOML.replace("python3", "no-such-program"))
    with pytest.raises(
        ConfigurationError, match=r"services.prices.command: there is no program 'no-such-program'"
    ):
        build(describe())


async def test_the_program_listens_on_the_instances_port_and_what_comes_on_the_services_is_passed_on(
    run: Any,
) -> None:
    async with run() as (part, ours, own):
        status, near = await ask(own)
        assert status == 200
        assert f'"PORT": "{own.partition(":")[2]}"'.encode() in near
        for told in (b'"WHO": "me"', b'"MICRO_GATEWAY_URL": "http://g"', b'"MICRO_SERVICE": "prices"'):
            assert told in near
        status, far = await ask(ours)
        assert status == 200
        assert b"x-micro-peer" not in far.lower()
        health = await part.verbs["health"]()
        assert (health["state"], health["reason"]) == ("healthy", "")
        assert f'"pid": {health["pid"]}'.encode() in near
        assert await part.verbs["stats"]() == {"requests": 0}
        assert await part.verbs["routes.reload"]() == {}
    with pytest.raises(ProcessLookupError):
        os.kill(health["pid"], 0)


async def test_its_health_is_what_its_path_answers(run: Any, tmp_path: Path) -> None:
    async with run() as (part, _, _):
        (tmp_path / "ill").touch()
        for _ in range(10):
            health = await part.verbs["health"]()
        assert health["state"] == "unhealthy"
        assert health["reason"] == "GET /up: GET /up answers 500"


@pytest.mark.parametrize("how", ["by itself", "killed"])
async def test_it_cannot_go_on_without_its_program(run: Any, how: str) -> None:
    async with run() as (part, _, own):
        if how == "killed":
            os.kill((await part.verbs["health"]())["pid"], signal.SIGKILL)
        else:
            with pytest.raises(OSError):  # whatever the connection's end is called
                await ask(own, "/end")
        async with asyncio.timeout(LIMIT):
            with pytest.raises(MicroError) as caught:
                await part.run()
    assert (
        str(caught.value) == f"prices-2 ended {'by SIGKILL' if how == 'killed' else 'with code 7: the end'}"
    )


async def test_a_program_that_ends_before_it_is_ready_keeps_the_stack_from_starting(
    run: Any, tmp_path: Path
) -> None:
    (tmp_path / "prices.py").write_text("print('no licence')\nraise SystemExit(3)")
    with pytest.raises(
        ConfigurationError, match=r"ended with code 3: no licence; it had not answered GET /up"
    ):
        async with run():
            pass
