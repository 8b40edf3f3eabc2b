"""A stack starts, drains and leaves nothing behind, however it ends."""

from __future__ import annotations

import http.client
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from micro.runtime.state import read_run

HELLO = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def hello(request):
    return PlainTextResponse("hello")

app = Starlette(routes=[Route("/hello", hello)])
"""

STREAM = """
import asyncio, os
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

def wait_for_release():
    with open(os.environ["RELEASE"]) as fifo:
        return fifo.read()

async def stream(request):
    async def parts():
        yield "begun "
        yield await asyncio.to_thread(wait_for_release)
    return StreamingResponse(parts())

async def stuck(request):
    async def parts():
        yield "begun "
        await asyncio.Event().wait()
    return StreamingResponse(parts())

app = Starlette(routes=[Route("/stream", stream), Route("/stuck", stuck)])
"""

DEAF = """
import asyncio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def deaf():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def hello(request):
    app.state.task = asyncio.create_task(deaf(), name="the app's own")
    return PlainTextResponse("hello")

app = Starlette(routes=[Route("/hello", hello)])
"""

STUCK = "import threading; threading.Thread(target=threading.Event().wait, name='stuck').start()\n"

ORDERED = """
import os
from contextlib import asynccontextmanager
from starlette.applications import Starlette

@asynccontextmanager
async def lifespan(app):
    note("{name} up")
    yield
    note("{name} down")

def note(line):
    with open(os.environ["JOURNAL"], "a") as file:
        file.write(line + "\\n")

app = Starlette(lifespan=lifespan)
"""

ONE = '[services.hello]\napp = "hello:app"\nroutes = ["/hello"]\n'
STREAMING = '[services.stream]\napp = "stream:app"\nroutes = ["/stream", "/stuck"]\n'


def is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as sock:
        return sock.connect_ex((host, int(port))) != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_every_port_answers_and_a_signal_ends_all_of_it_with_code_0(
    start: Any, write: Any, tmp_path: Path, number: signal.Signals
) -> None:
    write(ONE, hello=HELLO)
    stack = start().until_ready()
    assert stack.get("/hello") == (200, "hello")
    assert stack.get("/hello", stack.service("hello")) == (200, "hello")
    assert stack.get("/health")[0] == 200
    record = read_run(tmp_path / ".micro")
    assert record is not None
    assert record.pid == stack.process.pid
    stack.send(number)
    assert stack.wait() == 0
    assert is_free(stack.gateway)
    assert is_free(stack.service("hello"))
    assert read_run(tmp_path / ".micro") is None
    assert not Path(record.socket).exists()


def test_a_request_in_flight_is_answered_before_it_ends(start: Any, write: Any, release: Path) -> None:
    write(STREAMING, stream=STREAM)
    stack = start(RELEASE=str(release)).until_ready()
    answer = stack.open("/stream")
    assert answer.read(6) == b"begun "
    stack.send(signal.SIGTERM)
    stack.until("stopping")
    with pytest.raises(OSError):
        while True:  # until the listening socket is closed
            stack.get("/health")
    release.write_text("and done")
    assert answer.read() == b"and done"
    assert stack.wait() == 0


def test_a_second_signal_ends_it_at_once(start: Any, write: Any, tmp_path: Path) -> None:
    write(STREAMING, stream=STREAM)
    stack = start().until_ready()
    answer = stack.open("/stuck")
    assert answer.read(6) == b"begun "
    stack.send(signal.SIGINT)
    stack.until("stopping")
    stack.send(signal.SIGINT)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        answer.read()
    assert stack.wait() == 0
    assert read_run(tmp_path / ".micro") is None


def test_a_signal_while_it_starts_ends_it_with_code_0(
    start: Any, write: Any, tmp_path: Path, release: Path
) -> None:
    slow = ORDERED.format(name="slow").replace(
        "    yield\n", "    import asyncio\n    await asyncio.Event().wait()\n    yield\n"
    )
    write('[services.slow]\napp = "slow:app"\n', slow=slow)
    stack = start(JOURNAL=str(release))
    with release.open() as journal:
        assert journal.read() == "slow up\n"
    stack.send(signal.SIGTERM)
    assert stack.wait() == 0
    assert stack.report == {}


def test_services_start_after_what_they_depend_on_and_end_before_it(
    start: Any, write: Any, tmp_path: Path
) -> None:
    write(
        '[services.first]\napp = "first:app"\ndepends = ["second"]\n[services.second]\napp = "second:app"\n',
        first=ORDERED.format(name="first"),
        second=ORDERED.format(name="second"),
    )
    journal = tmp_path / "journal"
    assert start(JOURNAL=str(journal)).until_ready().stop() == 0
    assert journal.read_text().splitlines() == ["second up", "first up", "first down", "second down"]


@pytest.mark.parametrize(
    ("args", "names"),
    [
        ((), ["second", "first", "third"]),
        (("first",), ["second", "first"]),
        (("first", "--no-deps"), ["first"]),
    ],
)
def test_one_can_start_some_with_what_they_depend_on(
    start: Any, write: Any, tmp_path: Path, args: tuple[str, ...], names: list[str]
) -> None:
    write(
        '[services.first]\napp = "hello:app"\ndepends = ["second"]\n[services.second]\napp = "hello:app"\n'
        '[services.third]\napp = "hello:app"\n',
        hello=HELLO,
    )
    stack = start(*args).until_ready()
    assert sorted(each["name"] for each in stack.report["services"]) == sorted(names)
    assert stack.stop() == 0


def test_a_second_stack_in_the_folder_is_refused_and_the_first_goes_on(start: Any, write: Any) -> None:
    write(ONE, hello=HELLO)
    first = start().until_ready()
    second = start()
    assert f"process {first.process.pid}" in second.until("error")
    assert second.wait() == 2
    assert first.get("/hello") == (200, "hello")
    assert first.ask("ps")[1]["items"][0]["pid"] == first.process.pid
    assert first.stop() == 0


@pytest.mark.parametrize("owner", ["gateway", "hello"])
def test_a_port_in_use_is_one_sentence_and_nothing_is_left(
    start: Any, tmp_path: Path, write: Any, owner: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        write(hello=HELLO)
        line = {
            "gateway": f"[gateway]\nport = {port}\n{ONE}",
            "hello": f"[gateway]\nport = 0\n{ONE}port = {port}\n",
        }
        (tmp_path / "micro.toml").write_text(line[owner])
        stack = start()
        error = stack.until("error")
        assert f"{owner}: 127.0.0.1:{port} is in use" in error
        assert "micro.toml" in error
        assert stack.wait() == 2
        assert stack.errors == ""
    write(ONE)
    assert start().until_ready().stop() == 0


@pytest.mark.crash
def test_after_kill_9_the_next_start_clears_what_was_left(start: Any, write: Any, tmp_path: Path) -> None:
    write(ONE, hello=HELLO)
    first = start().until_ready()
    left = read_run(tmp_path / ".micro")
    first.ask("events.publish", topic="notes", type="Noted", key="a", data={"n": 1})
    first.process.kill()
    assert first.wait() == -signal.SIGKILL
    assert left is not None
    assert Path(left.socket).exists()
    second = start().until_ready()
    assert second.get("/hello") == (200, "hello")
    items, _ = second.ask("events.list", topic="notes")
    assert [item["event"]["data"] for item in items] == [{"n": 1}]
    assert second.stop() == 0


def test_an_app_that_refuses_to_start_is_one_sentence(start: Any, write: Any, tmp_path: Path) -> None:
    refusing = ORDERED.format(name="x").replace(
        "    yield\n", '    raise OSError("no mail server")\n    yield\n'
    )
    write('[services.mail]\napp = "mail:app"\n', mail=refusing)
    stack = start(JOURNAL=str(tmp_path / "journal"))
    assert stack.until("error") == "mail: its app refused to start: OSError: no mail server"
    assert stack.wait() == 2
    assert read_run(tmp_path / ".micro") is None


def test_the_verb_stop_is_a_first_signal(start: Any, write: Any) -> None:
    write(ONE, hello=HELLO)
    stack = start().until_ready()
    assert stack.ask("stop")[1] == {"pid": stack.process.pid}
    assert stack.wait() == 0


def test_a_thread_that_is_stuck_does_not_keep_the_process(start: Any, write: Any, release: Path) -> None:
    write(STREAMING, stream=STREAM)
    stack = start(RELEASE=str(release)).until_ready()
    answer = stack.open("/stream")
    assert answer.read(6) == b"begun "  # and now a thread waits for the pipe
    stack.send(signal.SIGINT)
    stack.until("stopping")
    stack.send(signal.SIGINT)
    assert stack.wait() == 0
    assert "left behind" in stack.errors


def test_a_task_that_swallows_its_cancellation_does_not_keep_the_process(start: Any, write: Any) -> None:
    write(ONE, hello=DEAF)
    stack = start().until_ready()
    assert stack.get("/hello") == (200, "hello")  # and now its task waits
    assert stack.stop() == 0
    assert "left behind, as they don't end: the app's own (" in stack.errors


def test_a_thread_that_is_stuck_does_not_keep_a_stack_that_did_not_start(
    start: Any, write: Any, tmp_path: Path
) -> None:
    refusing = ORDERED.format(name="x").replace("    yield\n", f"    {STUCK}    raise OSError\n    yield\n")
    write('[services.mail]\napp = "mail:app"\n', mail=refusing)
    stack = start(JOURNAL=str(tmp_path / "journal"))
    assert stack.until("error") == "mail: its app refused to start: OSError"
    assert stack.wait() == 2
    assert "left behind, as they don't end: stuck" in stack.errors


def test_threads_that_end_are_waited_for(start: Any, write: Any) -> None:
    write(
        ONE, hello=HELLO.replace("async def hello", "def hello")
    )  # Starlette runs it in a thread of anyio's
    stack = start().until_ready()
    assert stack.get("/hello") == (200, "hello")
    assert stack.stop() == 0
    assert stack.errors == ""
