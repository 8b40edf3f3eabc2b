"""An edit to one service's code replaces that service; everything else goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HELLO = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def hello(request):
    return PlainTextResponse("old")

app = Starlette(routes=[Route("/hello", hello)])
"""

STREAM = """
import asyncio, os
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

WORD = "old"

def wait_for_release():
    with open(os.environ["RELEASE"]) as fifo:
        return fifo.read()

async def stream(request):
    async def parts():
        yield WORD + " "
        yield await asyncio.to_thread(wait_for_release)
        yield " " + WORD
    return StreamingResponse(parts())

async def word(request):
    async def parts():
        yield WORD
    return StreamingResponse(parts())

app = Starlette(routes=[Route("/stream", stream), Route("/word", word)])
"""

SHOP = """
from micro import Event, Service
from shop_words import WORD
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

class Noted(Event, topic="shop.events"):
    word: str

async def note(request):
    async with request.state.micro.transaction() as tx:
        tx.emit(Noted(word=WORD), key="k")
    return JSONResponse({"word": WORD})

async def seen(request):
    rows = await request.state.micro.query("select word, by from seen order by word, by")
    return JSONResponse([list(row) for row in rows])

app = Starlette(routes=[Route("/note", note, methods=["POST", "GET"]), Route("/seen", seen)])
service = Service("shop", app=app, routes=["/note", "/seen"], migrations="migrations", publishes=[Noted])

@service.on("Noted", topic="shop.events")
async def keep(event, tx):
    await tx.execute("insert into seen (word, by) values (?, ?)", event.data["word"], "first handler")
"""

TWO = """
[services.hello]
app = "hello:app"
routes = ["/hello"]
[services.stream]
app = "stream:app"
routes = ["/stream", "/word"]
"""


@pytest.fixture
def two(start: Any, write: Any, release: Path) -> Any:
    """Two services: one that streams until it is released, one that says hello."""
    write(TWO, hello=HELLO, stream=STREAM)
    return start(RELEASE=str(release)).until_ready()


@pytest.fixture
def shop(start: Any, write: Any, tmp_path: Path) -> Any:
    """A service with a database, a handler, and a module that another service imports, too."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_seen.sql").write_text(
        "create table seen (word text not null, by text not null) strict;"
    )
    write(
        '[services.shop]\nservice = "shop:service"\n[services.hello]\napp = "hello:app"\nroutes = ["/hello"]\n',
        shop=SHOP,
        shop_words='WORD = "old"\n',
        hello=HELLO.replace('"old"', "WORD").replace(
            "from starlette.app", "from shop_words import WORD\nfrom starlette.app", 1
        ),
    )
    return start().until_ready()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def settled(stack: Any) -> Any:
    """The stack, once it follows edits; one that comes earlier is followed, too."""
    with (stack.folder / "hello.py").open("a") as file:
        file.write("\n")
    stack.until("notice", "reloaded hello")
    return stack


def test_a_streaming_answer_of_another_service_goes_on(two: Any, tmp_path: Path, release: Path) -> None:
    answer = settled(two).open("/stream")
    assert answer.read(4) == b"old "
    edit(tmp_path / "hello.py", '"old"', '"new"')
    assert "hello.py" in two.until("notice", "reloaded hello")
    assert two.get("/hello") == (200, "new")
    release.write_text("end")
    assert answer.read() == b"end old"
    assert two.stop() == 0


def test_an_answer_of_the_old_code_is_finished_by_the_old_code(
    two: Any, tmp_path: Path, release: Path
) -> None:
    answer = settled(two).open("/stream")
    assert answer.read(4) == b"old "
    edit(tmp_path / "stream.py", '"old"', '"new"')
    two.until("notice", "reloaded stream")
    assert two.get("/word", two.service("stream")) == (200, "new")
    release.write_text("end")
    assert answer.read() == b"end old"
    assert two.stop() == 0


def test_an_open_connection_meets_the_new_code_with_its_next_request(two: Any, tmp_path: Path) -> None:
    answer = settled(two).open("/hello")
    assert answer.read() == b"old"
    edit(tmp_path / "hello.py", '"old"', '"new"')
    two.until("notice", "reloaded hello")
    [connected] = two._connections
    connected.request("GET", "/hello")
    assert connected.getresponse().read() == b"new"
    assert two.stop() == 0


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("    return (", "SyntaxError"),
        ("    return 1\nimport nowhere_to_be_found", "nowhere_to_be_found"),
        ("", "no 'app'"),
    ],
)
def test_code_that_cannot_be_loaded_leaves_the_old_running_and_says_why(
    two: Any, tmp_path: Path, broken: str, says: str
) -> None:
    settled(two)
    source = (tmp_path / "hello.py").read_text()
    (tmp_path / "hello.py").write_text(f"def oops():\n    pass\n{broken}\n")
    notice = two.until("notice", "not reloaded")
    assert "the old code runs on" in notice
    assert says in notice
    assert notice.count("\n") < 3
    assert two.get("/hello") == (200, "old")
    (tmp_path / "hello.py").write_text(source.replace('"old"', '"new"'))
    two.until("notice", "reloaded hello")
    assert two.get("/hello") == (200, "new")
    assert two.stop() == 0


def test_what_a_failed_reload_lacked_is_picked_up_when_it_comes(two: Any, tmp_path: Path) -> None:
    settled(two)
    edit(tmp_path / "hello.py", "\nasync def", "\nfrom later import WORD\nasync def")
    assert "later" in two.until("notice", "not reloaded")
    (tmp_path / "later.py").write_text("WORD = 1\n")
    two.until("notice", "reloaded hello")
    assert two.stop() == 0


def test_a_lifespan_that_fails_leaves_the_old_running(two: Any, tmp_path: Path) -> None:
    settled(two)
    failing = "async def fail(app):\n    raise OSError('no pool')\n    yield\n"
    edit(tmp_path / "hello.py", "app = Starlette(", f"{failing}\napp = Starlette(lifespan=fail, ")
    assert "no pool" in two.until("notice", "not reloaded")
    assert two.get("/hello") == (200, "old")
    assert two.stop() == 0


def test_a_file_that_no_service_imports_needs_a_restart(two: Any, tmp_path: Path) -> None:
    (tmp_path / "unused.py").write_text("x = 1\n")
    settled(two)
    (tmp_path / "unused.py").write_text("x = 2\n")
    assert "restart needed" in two.until("notice", "unused.py")
    assert two.stop() == 0


def test_every_service_that_imports_a_file_is_reloaded(shop: Any, tmp_path: Path) -> None:
    settled(shop)
    edit(tmp_path / "shop_words.py", "old", "new")
    notice = shop.until("notice", "reloaded")
    assert "shop" in notice
    assert "hello" in notice
    assert shop.get("/hello") == (200, "new")
    assert shop.get("/note")[1] == '{"word":"new"}'
    assert shop.stop() == 0


def test_events_go_to_the_new_handler_and_none_is_lost(shop: Any, tmp_path: Path) -> None:
    settled(shop).get("/note")
    edit(tmp_path / "shop.py", "first handler", "second handler")
    shop.until("notice", "reloaded shop")
    (tmp_path / "shop_words.py").write_text('WORD = "newer"\n')
    shop.until("notice", "reloaded")
    shop.get("/note")
    expected = '[["newer","second handler"],["old","'
    while not (seen := shop.get("/seen")[1]).startswith(expected):
        assert seen.count("[") <= 3
    assert shop.stop() == 0


def test_a_new_migration_is_applied(shop: Any, tmp_path: Path) -> None:
    settled(shop)
    (tmp_path / "migrations" / "0002_more.sql").write_text("create table more (id text primary key) strict;")
    shop.until("notice", "reloaded shop")
    status = shop.ask("db.status", service="shop")[1]["items"]
    assert all(item["applied_at"] for item in status)
    assert status[-1]["name"] == "more"
    assert shop.stop() == 0


def test_a_migration_that_fails_leaves_the_old_running(shop: Any, tmp_path: Path) -> None:
    settled(shop)
    (tmp_path / "migrations" / "0002_more.sql").write_text("create tabel more;")
    assert "0002_more.sql failed" in shop.until("notice", "not reloaded")
    assert shop.get("/note")[0] == 200
    assert shop.stop() == 0


def test_routes_of_the_settings_are_in_force_at_once(two: Any, tmp_path: Path) -> None:
    settled(two)
    edit(tmp_path / "micro.toml", 'routes = ["/hello"]', 'routes = ["/hello", "/greet"]')
    two.until("notice", "in force")
    assert two.get("/greet")[0] == 404
    assert "No route" not in two.get("/greet")[1]
    assert two.stop() == 0


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[services.stream]", "[services.stream]\nport = 1", "services.stream.port changed"),
        ("[services.stream]", "[services.stream]\npart = 1", "part"),
        ("[services.stream]", "[services.stream", "micro.toml"),
    ],
)
def test_settings_that_are_wrong_or_need_a_restart_change_nothing(
    two: Any, tmp_path: Path, old: str, new: str, says: str
) -> None:
    settled(two)
    edit(tmp_path / "micro.toml", old, new)
    two.until("notice", says)
    assert two.get("/hello") == (200, "old")
    assert two.stop() == 0
