"""An app's lifespan is run once, with a clear word when it refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from micro.errors import ConfigurationError
from micro.runtime.lifespan import Lifespan
from micro.testing import FakeClock


class App:
    """A lifespan that answers as the test says."""

    def __init__(self, *answers: dict[str, Any], error: Exception | None = None) -> None:
        self.answers = list(answers)
        self.error = error
        self.heard: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        scope["state"]["opened"] = True
        for answer in self.answers:
            self.heard.append((await receive())["type"])
            await send(answer)
        if self.error:
            raise self.error


UP = {"type": "lifespan.startup.complete"}
DOWN = {"type": "lifespan.shutdown.complete"}


async def test_it_starts_once_stops_once_and_keeps_the_state() -> None:
    app, state = App(UP, DOWN), {}
    lifespan = Lifespan("shop", app, state)
    await lifespan.start()
    assert state == {"opened": True}
    assert app.heard == ["lifespan.startup"]
    await lifespan.stop()
    await lifespan.stop()
    assert app.heard == ["lifespan.startup", "lifespan.shutdown"]


async def test_an_app_that_knows_no_lifespan_is_fine(caplog: pytest.LogCaptureFixture) -> None:
    lifespan = Lifespan("shop", App(error=KeyError("path")), {})
    await lifespan.start()
    await lifespan.stop()
    assert not caplog.records


async def test_an_app_that_ignores_the_lifespan_is_fine() -> None:
    lifespan = Lifespan("shop", App(), {})
    await lifespan.start()
    await lifespan.stop()


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"message": "Traceback …\n  File …\nOSError: no mail server\n"}, "OSError: no mail server"),
        ({}, "it gave no reason"),
    ],
)
async def test_a_refusal_is_one_sentence(message: dict[str, str], says: str) -> None:
    app = App({"type": "lifespan.startup.failed", **message}, error=OSError("no mail server"))
    with pytest.raises(ConfigurationError) as caught:
        await Lifespan("shop", app, {}).start()
    assert str(caught.value) == f"shop: its app refused to start: {says}"


async def test_a_start_that_takes_too_long_is_given_up() -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ConfigurationError, match=r"took longer than 0\.01 s"):
        await Lifespan("shop", app, {}, limit=0.01).start()
    assert ended.is_set()


async def test_cancelling_the_start_leaves_no_task() -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    starting = asyncio.create_task(Lifespan("shop", app, {}).start())
    await FakeClock().sleep(0)
    await FakeClock().sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert ended.is_set()


async def test_a_lifespan_that_dies_later_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    lifespan = Lifespan("shop", App(UP, error=RuntimeError("the pool is gone")), {})
    await lifespan.start()
    await lifespan.stop()
    assert "the pool is gone" in caplog.text


async def test_a_failed_shutdown_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    failed = {"type": "lifespan.shutdown.failed", "message": "could not flush"}
    lifespan = Lifespan("shop", App(UP, failed, error=RuntimeError("could not flush")), {})
    await lifespan.start()
    await lifespan.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "shop: its shutdown failed: could not flush"
    ]


async def test_a_shutdown_that_takes_too_long_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(UP)
        await asyncio.Event().wait()

    lifespan = Lifespan("shop", app, {}, limit=0.01)
    await lifespan.start()
    await lifespan.stop()
    assert "was cut off" in caplog.text


async def test_stopping_what_never_started_does_nothing() -> None:
    await Lifespan("shop", App(), {}).stop()


async def test_a_stop_that_is_interrupted_can_be_repeated() -> None:
    """As after a second Ctrl-C: the app is asked once, then cut off."""
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(UP)
        while True:
            heard.append((await receive())["type"])

    lifespan = Lifespan("shop", app, {})
    await lifespan.start()
    stopping = asyncio.create_task(lifespan.stop())
    await FakeClock().sleep(0)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    await lifespan.stop()
    assert heard.count("lifespan.shutdown") <= 1
