"""A small stack in this process, without sockets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from micro.bus.message import Event
from micro.clock import SystemClock
from micro.config.read import read_config
from micro.runtime.assemble import assemble
from micro.runtime.inprocess import ask
from micro.runtime.operations import Live, verbs_of
from micro.service import Retry, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from micro.runtime.system import System

LIMIT = 60.0

TOML = """
[gateway]
port = 0
[services.shop]
service = "shop.service:service"
[services.crates]
service = "crates.service:service"
depends = ["shop"]
[services.plain]
app = "plain:app"
routes = ["/plain"]
"""


class Ordered(Event, topic="shop.events"):
    word: str


class Packed(Event, topic="crate.events"):
    word: str


def shop() -> Service:
    async def order(request: Any) -> JSONResponse:
        word = request.path_params["word"]
        async with request.state.micro.transaction() as tx:
            await tx.execute("insert into orders (word) values (?)", word)
            tx.emit(Ordered(word=word), key=word)
        return JSONResponse({"word": word}, status_code=201)

    app = Starlette(routes=[Route("/orders/{word}", order, methods=["POST"])])
    return Service("shop", app=app, routes=["/orders"], publishes=[Ordered])


def crates() -> Service:
    """Packs what was ordered; a word that begins with x can't be packed."""
    service = Service("crates", publishes=[Packed])

    @service.on("Ordered", topic="shop.events", retry=Retry(attempts=2, base=0.001))
    async def pack(event: Any, tx: Any) -> None:
        if event.data["word"].startswith("x"):
            raise ValueError("it does not fit")
        await tx.execute("insert into orders (word) values (?)", event.data["word"])
        tx.emit(Packed(word=event.data["word"]), key=event.key)

    return service


async def plain(request: Any) -> PlainTextResponse:
    return PlainTextResponse("plain")


@dataclass
class Running:
    """An opened system whose services work, and its verbs."""

    system: System
    verbs: dict[str, Any]
    stopped: asyncio.Event

    async def end(self, verb: str, **args: Any) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT):
            return await self.verbs[verb](**args)

    async def items(self, verb: str, **args: Any) -> list[dict[str, Any]]:
        async with asyncio.timeout(LIMIT):
            return [item async for item in self.verbs[verb](**args)]

    async def order(self, word: str) -> str:
        """Place an order through the gateway; its request id."""
        reply = await ask(self.system.gateway, "POST", f"/orders/{word}", headers=[(b"host", b"localhost")])
        assert reply.status == 201
        return reply.headers["x-request-id"]

    async def until(self, verb: str, seen: Callable[[list[dict[str, Any]]], bool], **args: Any) -> None:
        """Ask until what the verb answers is as expected."""
        async with asyncio.timeout(LIMIT):
            while not seen(await self.items(verb, **args)):
                await SystemClock().sleep(0.005)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stack's folder, with one migration that both services use."""
    (tmp_path / "micro.toml").write_text(TOML)
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    (migrations / "0001_orders.sql").write_text("create table orders (word text primary key) strict;")
    return tmp_path


@pytest.fixture
def services(folder: Path) -> dict[str, Service]:
    declared = {
        "shop": shop(),
        "crates": crates(),
        "plain": Service("plain", app=plain_app(), routes=["/plain"]),
    }
    for name in ("shop", "crates"):
        declared[name].migrations = str(folder / "migrations")
    return declared


def plain_app() -> Starlette:
    return Starlette(routes=[Route("/plain", plain)])


@pytest.fixture
def build(folder: Path, services: dict[str, Service]) -> Callable[..., System]:
    """`build(**arguments of assemble)`."""

    def assembled(**arguments: Any) -> System:
        config = read_config(folder, {})
        return assemble(config, config.profile(), services=services, **arguments)

    return assembled


@asynccontextmanager
async def run(system: System) -> AsyncIterator[Running]:
    stopped = asyncio.Event()

    async def nothing(*names: Any) -> dict[str, Any]:
        return {"asked": list(*names)}

    live = Live(
        urls={"gateway": "http://x"}, since=0.0, stop=stopped.set, reload=nothing, reload_routes=nothing
    )
    try:
        await system.open()
        for hosted in system.services.values():
            await hosted.instance.start()
            hosted.instance.work()
        await system.board.check()
        yield Running(system, verbs_of(system, live), stopped)
    finally:
        for hosted in system.services.values():
            await hosted.instance.stop()
        await system.close()


@pytest.fixture
async def running(build: Callable[..., System]) -> AsyncIterator[Running]:
    """Three services at work: `shop`, `crates` (which handles its events) and `plain` (an app without a Service)."""
    async with run(build()) as started:
        yield started
