"""What a reload does to services in this process, where the system tests can't look."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from micro.config.read import read_config
from micro.errors import MicroError
from micro.runtime.assemble import assemble
from micro.runtime.inprocess import ask
from micro.runtime.reload import Reloader
from micro.runtime.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIMIT = 60.0

APP = """
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

WORD = "old"
ENDED = []

async def word(request):
    return PlainTextResponse(WORD)

@asynccontextmanager
async def lifespan(app):
    yield
    ENDED.append(WORD)

app = Starlette(routes=[Route("/{rest:path}", word)], lifespan=lifespan)
"""


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
async def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("left", "right"):
        (tmp_path / f"app_{name}.py").write_text(APP)
    (tmp_path / "micro.toml").write_text(
        '[gateway]\nport = 0\n[services.left]\napp = "app_left:app"\nroutes = ["/left"]\n'
        '[services.right]\napp = "app_right:app"\nroutes = ["/right"]\n'
    )
    config = read_config(tmp_path, {})
    built = assemble(config, config.profile())
    await built.open()
    for hosted in built.services.values():
        await hosted.instance.start()
        hosted.instance.work()
    yield built
    for hosted in built.services.values():
        await hosted.instance.stop()
    await built.close()
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
async def reloader(system: Any, notices: list[str]) -> AsyncIterator[Reloader]:
    made = Reloader(system, Settings(system), notices.append)
    yield made
    await made.close()


def edit(folder: Path, name: str, old: str, new: str) -> Path:
    path = folder / f"app_{name}.py"
    path.write_text(path.read_text().replace(old, new))
    return path


async def words(system: Any) -> list[str]:
    return [
        (await ask(hosted.upstream.call, "GET", f"/{name}", headers=[(b"host", b"localhost")])).body.decode()
        for name, hosted in system.services.items()
    ]


async def test_a_reload_takes_the_new_code_and_ends_the_old_when_it_is_idle(
    reloader: Reloader, system: Any, tmp_path: Path, notices: list[str]
) -> None:
    old = sys.modules["app_left"]
    await reloader.survey()
    edit(tmp_path, "left", '"old"', '"new"')
    assert await reloader.reload(["left"]) == {"reloaded": ["left"], "errors": []}
    assert await words(system) == ["new", "old"]
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*reloader._retiring)
    assert old.ENDED == ["old"]
    assert system.services["left"].reloads == 1
    assert notices[0].startswith("reloaded left in ")


async def test_of_two_services_in_one_edit_both_or_none_are_imported(
    reloader: Reloader, system: Any, tmp_path: Path, notices: list[str]
) -> None:
    await reloader.survey()
    files = [edit(tmp_path, "left", '"old"', '"new"'), edit(tmp_path, "right", "WORD = ", "WORD = (")]
    await reloader.edited(files)
    assert await words(system) == ["old", "old"]
    assert "left, right: not reloaded" in notices[0]
    await reloader.edited([edit(tmp_path, "right", "WORD = (", "WORD = ")])
    assert await words(system) == ["new", "old"]
    assert notices[1].startswith("reloaded left, right in ")


async def test_one_that_refuses_to_start_keeps_none_of_the_others(
    reloader: Reloader, system: Any, tmp_path: Path, notices: list[str]
) -> None:
    await reloader.survey()
    files = [
        edit(tmp_path, "left", '"old"', '"new"'),
        edit(tmp_path, "right", "    yield", "    raise OSError('no')\n    yield"),
    ]
    await reloader.edited(files)
    assert await words(system) == ["new", "old"]
    assert notices[0].startswith("reloaded left in ")
    assert "right: not reloaded, the old code runs on" in notices[1]


async def test_a_request_in_the_old_code_does_not_keep_the_stack_from_stopping(
    reloader: Reloader, system: Any, tmp_path: Path
) -> None:
    old = sys.modules["app_left"]
    await reloader.survey()
    hosted = system.services["left"]
    hosted.upstream._generation.active += 1  # a request that never ends
    await reloader.reload(["left"])
    assert old.ENDED == []
    await reloader.close()
    assert old.ENDED == ["old"]


@pytest.fixture
async def half(
    reloader: Reloader, system: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[asyncio.Task[Any], asyncio.Event]:
    """A reload of `left` whose old instance was told to rest, and does when the event is set."""
    told, may_rest = asyncio.Event(), asyncio.Event()
    old = system.services["left"].instance
    rest = old.rest

    async def wait(grace: float) -> None:
        told.set()
        await may_rest.wait()
        await rest(grace)

    monkeypatch.setattr(old, "rest", wait)
    await reloader.survey()
    edit(tmp_path, "left", '"old"', '"new"')
    asked = asyncio.create_task(reloader.reload(["left"]))
    async with asyncio.timeout(LIMIT):
        await told.wait()
    return asked, may_rest


async def test_half_a_reload_is_finished_though_whoever_asked_for_it_goes_away(
    reloader: Reloader, system: Any, half: tuple[asyncio.Task[Any], asyncio.Event]
) -> None:
    asked, may_rest = half
    async with asyncio.timeout(LIMIT):
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        may_rest.set()
        await reloader.reload(["right"])  # its turn comes when that is done
    assert await words(system) == ["new", "old"]
    assert system.services["left"].instance._task is not None


async def test_a_stack_that_stops_ends_the_new_instance_that_nobody_knows_yet(
    reloader: Reloader, system: Any, half: tuple[asyncio.Task[Any], asyncio.Event]
) -> None:
    asked, may_rest = half
    async with asyncio.timeout(LIMIT):
        await reloader.close()
        with pytest.raises(MicroError, match="the stack stops"):
            await asked
    assert sys.modules["app_left"].ENDED == ["new"]
    assert await words(system) == ["old", "old"]
    may_rest.set()


async def test_an_edit_is_somebodys_business_or_said_to_be_nobodys(
    reloader: Reloader, tmp_path: Path, notices: list[str]
) -> None:
    await reloader.survey()
    assert reloader.users_of([tmp_path / "app_left.py", tmp_path / "other.py"]) == ["left"]
    assert reloader.concerns(tmp_path / "app_right.py")
    assert not reloader.concerns(tmp_path / "other.py")
    await reloader.edited([tmp_path / f"{name}.py" for name in "dcba"])
    assert notices == ["a.py, b.py, c.py and 1 more: no service imports it; restart needed where it matters"]


async def test_after_a_failed_reload_any_edit_is_tried(reloader: Reloader, tmp_path: Path) -> None:
    await reloader.survey()
    await reloader.edited([edit(tmp_path, "left", "WORD = ", "WORD = (")])
    assert reloader.concerns(tmp_path / "other.py")


async def test_what_was_edited_since_it_was_loaded_is_found(
    reloader: Reloader, system: Any, tmp_path: Path
) -> None:
    await reloader.survey()
    assert reloader.missed() == []
    edit(tmp_path, "left", '"old"', '"new"')
    assert reloader.missed() == [tmp_path / "app_left.py"]
    (tmp_path / "app_left.py").unlink()
    assert reloader.missed() == []
