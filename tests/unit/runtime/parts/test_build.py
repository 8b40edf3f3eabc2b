"""What the children of the supervisor run, all in this process: services and gateways that find each other over sockets."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from micro import registry
from micro.clock import SystemClock
from micro.discovery.ports import Place
from micro.discovery.static import StaticDiscovery
from micro.errors import ConfigurationError, MicroError, UsageError
from micro.infra.server import free_ports
from micro.runtime import assemble
from micro.runtime.finding import Finding
from micro.runtime.multi import worker
from micro.runtime.parts import base as base_part
from micro.runtime.parts import preflight as preflight_part
from micro.runtime.parts.build import build
from micro.runtime.parts.description import Description, Start
from micro.runtime.sockets import bind
from micro.runtime.system import System

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

LIMIT = 60.0
_numbers = count(1)

CODE = """
import asyncio
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from micro import Service
from micro.errors import CallError
from micro.context import current

waiting, going = asyncio.Event(), asyncio.Event()

async def about(request):
    context = current.get()
    return JSONResponse({
        "service": "NAME", "request_id": context.request_id, "correlation_id": context.correlation_id,
        "trace": context.traceparent[3:35], "host": request.headers["host"], "client": request.client.host,
        "user": request.headers.get("x-user-id"), "proof": "x-micro-peer" in request.headers,
        "kind": None, "body": (await request.body()).decode(),
    })

async def ask(request):
    micro = request.state.micro
    reply = await micro.call("OTHER", "POST", "/OTHER/about?a=1", json={"b": 2}, headers={"x-micro-peer": "forged"})
    return JSONResponse(reply.json(), reply.status)

async def fail(request):
    try:
        await request.state.micro.call(request.query_params["of"], "GET", "/", timeout=60)
    except CallError as error:
        return JSONResponse(str(error))

async def wait(request):
    waiting.set()
    await going.wait()
    return JSONResponse("done")

async def environment(request):
    return JSONResponse(sorted(request.state.micro.env))

app = Starlette(routes=[
    Route("/NAME/about", about, methods=["GET", "POST"]), Route("/NAME/ask", ask), Route("/NAME/wait", wait),
    Route("/NAME/fail", fail), Route("/NAME/environment", environment),
])
service = Service("NAME", app=app, routes=["/NAME"], port=PORT)
"""

TOML = """
[services.one]
service = "CODE_one:service"
[services.two]
service = "CODE_two:service"
port = 0
health = "/two/about"
[services.far]
url = "http://127.0.0.1:9"
routes = ["/far"]
[gateway]
port = 0
rate_limit = "off"
policies = ["CODE_policy:Stamp"]
"""

POLICY = """
class Stamp:
    def on_response(self, exchange):
        exchange.fields.append((b"x-stamp", b"here"))
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The prefix of the modules of a stack in `tmp_path`, which this test alone has."""
    prefix = f"part{next(_numbers)}"
    for name, other, port in (("one", "two", "18111"), ("two", "one", "None")):
        text = CODE.replace("NAME", name).replace("OTHER", other).replace("PORT", port)
        (tmp_path / f"{prefix}_{name}.py").write_text(text)
    (tmp_path / f"{prefix}_policy.py").write_text(POLICY)
    (tmp_path / "micro.toml").write_text(TOML.replace("CODE", prefix))
    monkeypatch.setattr(assemble, "SqliteJournal", lambda path: None)  # a journal belongs to one process
    monkeypatch.setattr(sys, "path", [*sys.path])
    return prefix


@pytest.fixture
def describe(tmp_path: Path, code: str) -> Callable[..., Description]:
    def make(role: str, service: str = "", number: int = 1, **more: Any) -> Description:
        told = {
            "directory": str(tmp_path),
            "profile": "prod",
            "store": f"sqlite:{tmp_path}/{{service}}.{number}.db",
            "bus": "memory:",
            "cache": "memory:",
            "logs": str(tmp_path / "logs"),
            "names": ("one", "two", "far"),
        }
        return Description(role=role, service=service or role, number=number, **{**told, **more})  # type: ignore[arg-type] # one of the three

    return make


class Child:
    """A part that runs, and the base URL of its private socket."""

    def __init__(self, part: Any, url: str) -> None:
        self.part, self.url = part, url

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Any:
        """Status, fields and JSON of an answer, over a connection of its own."""
        host, port = self.url.removeprefix("http://").split(":")
        async with asyncio.timeout(LIMIT):
            reader, writer = await asyncio.open_connection(host, int(port))
            fields = {
                "host": "localhost",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            }
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            writer.write(f"{method} {path} HTTP/1.1\r\n{head}connection: close\r\n\r\n".encode())
            data = await reader.read()
            writer.close()
        start, _, body = data.partition(b"\r\n\r\n")
        line, *lines = start.decode().split("\r\n")
        return int(line.split()[1]), dict(field.split(": ", 1) for field in lines), json.loads(body)

    async def told(self, verb: str, **args: Any) -> Any:
        async with asyncio.timeout(LIMIT):
            return await self.part.verbs[verb](**args)


@pytest.fixture
def run(describe: Any) -> Callable[..., Any]:
    """A part that is started, drained and closed around a block: its arguments are those of `describe`, and of `Start`."""

    @asynccontextmanager
    async def running(
        role: str,
        service: str = "",
        *,
        peers: Any = None,
        facts: Any = None,
        public: Any = None,
        ahead: bool = False,
        **more: Any,
    ) -> AsyncIterator[Child]:
        made = build(describe(role, service, **more))
        private = bind("an instance", "127.0.0.1", 0)
        url = f"http://127.0.0.1:{private.getsockname()[1]}"
        start = Start(
            public=public, private=private, gateway="http://g", urls={}, peers=peers or {}, facts=facts or {}
        )
        try:
            async with asyncio.timeout(LIMIT):
                if ahead:
                    await made.verbs["open"](facts=facts)
                await made.start(start)
            yield Child(made, url)
        finally:
            await made.drain(1.0)
            await made.close()
            await made.close()
            private.close()

    return running


def test_a_service_tells_what_its_code_declares(describe: Any) -> None:
    assert build(describe("service", "one")).facts["routes"] == ["/one"]
    assert build(describe("service", "one")).facts["port"] == 18111
    assert build(describe("service", "two")).facts["port"] == 0, "the settings win"


def test_a_service_loads_neither_the_others_code_nor_the_gateways(describe: Any, code: str) -> None:
    build(describe("service", "one"))
    assert f"{code}_one" in sys.modules
    assert f"{code}_two" not in sys.modules
    assert f"{code}_policy" not in sys.modules


def test_building_opens_nothing_but_the_stacks_key(describe: Any, tmp_path: Path) -> None:
    before = {*tmp_path.iterdir()}
    for role, service in (("service", "one"), ("gateway", ""), ("operations", "")):
        build(describe(role, service))
    made = {path.name for path in {*tmp_path.iterdir()} - before}
    assert made <= {".micro", "__pycache__"}
    assert [path.name for path in (tmp_path / ".micro").rglob("*") if path.is_file()] == ["stack.json"]


def test_a_key_that_is_none_and_a_wrong_setting_are_told_before_anything_starts(
    describe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICRO_STACK_KEY", "nonsense")
    with pytest.raises(ConfigurationError, match="MICRO_STACK_KEY"):
        build(describe("service", "one"))
    (tmp_path / "micro.toml").write_text("[gatway]\n")
    with pytest.raises(ConfigurationError, match="did you mean"):
        build(describe("gateway"))


async def test_services_call_each_other_over_the_network_as_they_do_in_one_process(run: Any) -> None:
    """Method, path, query, body and the ids cross; a proof that an author passes on does not."""
    async with run("service", "two") as two, run("service", "one", peers={"two": [two.url]}) as one:
        status, fields, said = await one.ask("/one/ask", x_correlation_id="c-1")
        assert status == 200
        assert (said["service"], said["body"], said["correlation_id"]) == ("two", '{"b":2}', "c-1")
        assert said["request_id"] == fields["x-request-id"]
        assert not said["proof"]
        assert two.url.endswith(said["host"])


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nobody", "one called nobody: there is no such service; there are: far, one, two"),
        ("two", "one called two: GET /: no answer: no instance of two may get traffic"),
        ("far", "one called far: GET /: no answer: 127.0.0.1:9: "),
    ],
)
async def test_a_call_that_reaches_nobody_is_an_error_with_a_reason(
    run: Any, target: str, reason: str
) -> None:
    async with run("service", "one") as one:
        assert (await one.ask(f"/one/fail?of={target}"))[2].startswith(reason)


async def test_a_stranger_on_an_instances_port_is_no_part_of_the_stack(run: Any) -> None:
    async with run("service", "one") as one:
        claims = {"x_user_id": "root", "x_request_id": "mine", "x_forwarded_for": "203.0.113.7"}
        for proof in ({}, {"x_micro_peer": "a.b.c"}, {"authorization": "Bearer a.b.c"}):
            _, fields, said = await one.ask("/one/about", **claims, **proof)
            assert said["user"] is None
            assert said["client"] == "127.0.0.1"
            assert said["request_id"] == fields["x-request-id"] != "mine"
        assert (await one.ask("/one/about", host="evil.example"))[0] == 400
        token = one.part.system.shared.keys.service_token("two")
        _, _, said = await one.ask("/one/about", **{**claims, "x_micro_peer": token, "host": "10.0.0.1"})
        assert (said["user"], said["request_id"], said["client"]) == ("root", "mine", "203.0.113.7")


async def test_the_stacks_key_is_nothing_for_a_services_own_code(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with run("service", "one"):
        text = (tmp_path / ".micro" / "keys" / "stack.json").read_text()
    monkeypatch.setenv("MICRO_STACK_KEY", text)
    async with run("service", "two", number=2) as two:
        _, _, names = await two.ask("/two/environment")
        assert "PATH" in names
        assert "MICRO_STACK_KEY" not in names


async def test_the_gateway_finds_services_by_what_they_have_told(run: Any) -> None:
    """It passes the client on, and the instance believes it; the user's own policies are the gateway's."""
    facts = {name: {"routes": [f"/{name}"]} for name in ("one", "two")}
    async with (
        run("service", "two") as two,
        run("service", "one", peers={"two": [two.url]}) as one,
        run("gateway", peers={"one": [one.url], "two": [two.url]}, facts=facts) as gateway,
    ):
        status, fields, said = await gateway.ask("/one/about", host="localhost:8000", x_user_id="root")
        assert status == 200
        assert fields["x-stamp"] == "here"
        assert said["request_id"] == fields["x-request-id"]
        assert (said["host"], said["user"], said["client"]) == ("localhost:8000", None, "127.0.0.1")
        status, _, health = await gateway.ask("/health")
        assert health["services"] == {"one": "healthy", "two": "healthy", "far": "starting"}
        assert (await gateway.ask("/far"))[0] == 502
        documents = (await gateway.ask("/openapi.json"))[2]
        assert documents["info"]
        assert (await gateway.told("health"))["state"] == "healthy"
        assert [row["path"] for row in (await gateway.told("routes"))["items"]] == ["/far", "/one", "/two"]
        explained = await gateway.told("routes", method="GET", path="/one/x", headers=())
        assert explained["service"] == "one"
        stats = await gateway.told("stats")
        assert [each["state"] for each in stats["instances"]["one"]] == ["healthy"]


async def test_while_redis_is_away_a_gateway_s_share_of_a_limit_goes_by_how_many_there_are(run: Any) -> None:
    [port] = free_ports(1)
    peers = {"gateway": ["http://127.0.0.1:1", "http://127.0.0.1:2"]}
    async with run("gateway", peers=peers, cache=f"redis://127.0.0.1:{port}/0") as gateway:
        cache = gateway.part.system.shared.cache
        assert (cache.degraded, cache.share) == (True, 0.5)
        assert (await gateway.told("health"))["services"]["cache"] == "degraded"
        gateway.part.peers.found({"gateway": ["http://10.0.0.2:1", "http://10.0.0.2:2"]})
        assert cache.share == 0.25
        await gateway.told("peers", services={})
        assert cache.share == 0.5


async def test_routes_are_read_again_in_a_gateway_without_loading_a_service(
    run: Any, tmp_path: Path, code: str
) -> None:
    facts = {name: {"routes": [f"/{name}"]} for name in ("one", "two")}
    async with run("gateway", facts=facts) as gateway:
        assert await gateway.told("routes.reload") == {"changed": False, "notes": []}
        with (tmp_path / "micro.toml").open("a") as file:
            file.write('[[gateway.routes]]\npath = "/more"\nservice = "two"\n')
        assert (await gateway.told("routes.reload"))["changed"]
        assert "/more" in [row["path"] for row in (await gateway.told("routes"))["items"]]
        (tmp_path / "micro.toml").write_text("[gateway\n")
        with pytest.raises(MicroError):
            await gateway.told("routes.reload")
    assert f"{code}_one" not in sys.modules


async def test_a_service_follows_the_settings_that_concern_it(run: Any, tmp_path: Path) -> None:
    async with run("service", "one") as one:
        assert (await one.ask("/one/about", host="shop.example"))[0] == 400
        text = (tmp_path / "micro.toml").read_text().replace("http://127.0.0.1:9", "http://127.0.0.1:11")
        text = text.replace("[gateway]", '[gateway]\nhosts = ["shop.example"]')
        (tmp_path / "micro.toml").write_text(text)
        assert (await one.told("routes.reload"))["changed"]
        assert (await one.ask("/one/about", host="shop.example"))[0] == 200
        assert (await one.ask("/one/fail?of=far", host="shop.example"))[2].startswith(
            "one called far: GET /: no answer: 127.0.0.1:11: "
        )


async def test_what_a_gateway_sees_of_its_instances_is_told_but_for_what_their_supervisor_tells(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {name: {"routes": [f"/{name}"]} for name in ("one", "two")}
    async with run("gateway", facts=facts, peers={"one": ["http://127.0.0.1:9"]}) as gateway:
        told: list[tuple[str, ...]] = []
        monkeypatch.setattr(gateway.part.system.announcer, "tell_of", lambda *news: told.append(news))
        for name in ("one", "far"):
            cluster = gateway.part.system.remotes[name].cluster
            for state in ("healthy", "unhealthy", "opened", "closed", "ejected"):
                cluster.tell(cluster.instances[0], state)
    assert [(service, state) for service, _, state in told] == [
        *(("one", state) for state in ("opened", "closed", "ejected")),
        *(("far", state) for state in ("healthy", "unhealthy", "opened", "closed", "ejected")),
    ]
    assert {instance for _, instance, _ in told} == {"127.0.0.1:9"}


async def test_a_new_set_of_peers_holds_when_the_answer_comes(run: Any) -> None:
    facts = {name: {"routes": [f"/{name}"]} for name in ("one", "two")}
    async with (
        run("service", "one") as old,
        run("service", "one", number=2) as new,
        run("gateway", peers={"one": [old.url]}, facts=facts) as gateway,
    ):
        assert await gateway.told("peers", services={"one": [new.url]}) == {}
        states = (await gateway.told("stats"))["instances"]["one"]
        assert [(each["instance"], each["state"]) for each in states] == [
            (new.url.removeprefix("http://"), "healthy")
        ]
        for _ in range(5):
            assert (await gateway.ask("/one/about"))[0] == 200
        assert (await gateway.told("peers", services={"one": []})) == {}
        assert (await gateway.ask("/one/about"))[0] == 503


async def test_an_instance_finishes_what_it_has_and_takes_no_more(run: Any, code: str) -> None:
    async with run("service", "one") as one:
        module = sys.modules[f"{code}_one"]
        asked = asyncio.create_task(one.ask("/one/wait"))
        async with asyncio.timeout(LIMIT):
            await module.waiting.wait()
        assert (await one.told("stats"))["requests"] == 1
        draining = asyncio.create_task(one.part.drain(LIMIT))
        await asyncio.wait({draining}, timeout=0)  # a turn of the loop: it has closed its sockets by then
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await one.ask("/one/about")
        module.going.set()
        assert (await asked)[2] == "done"
        async with asyncio.timeout(LIMIT):
            await draining
        assert await one.told("health") == {"state": "unhealthy", "reason": "stopping"}


async def test_the_health_of_an_instance_is_its_own_paths(run: Any, code: str) -> None:
    async with run("service", "two") as two:
        assert await two.told("health") == {"state": "healthy", "reason": ""}
        sys.modules[f"{code}_two"].app.router.routes.clear()
        assert await two.told("health") == {"state": "unhealthy", "reason": "GET /two/about fails"}


async def test_every_gateway_has_an_access_log_of_its_own(run: Any, tmp_path: Path) -> None:
    facts = {name: {"routes": [f"/{name}"]} for name in ("one", "two")}
    async with run("gateway", facts=facts, number=3) as gateway:
        await gateway.ask("/nowhere")
    assert "/nowhere" in (tmp_path / ".micro" / "logs" / "access.3.log").read_text()
    assert not (tmp_path / ".micro" / "logs" / "access.log").exists()


async def test_instances_of_other_machines_are_found_and_one_is_found_by_them(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it drains."""
    shared = StaticDiscovery("static:", clock=SystemClock())
    original = registry.create
    static = registry._Built("micro.discovery.static:StaticDiscovery")
    monkeypatch.setitem(registry._BUILT_IN["discovery"], "memory", static)
    monkeypatch.setattr(
        registry,
        "create",
        lambda port, url, **more: shared if port == "discovery" else original(port, url, **more),
    )
    monkeypatch.setenv("MICRO_ADVERTISE", "2001:db8::1")
    facts = {name: {"routes": [f"/{name}"]} for name in ("one", "two")}
    async with run("service", "one", origin="o") as one:
        await shared.register(Place("one", "one-1", one.url, f"{base_part.socket.gethostname()}/other"))
        async with run("gateway", facts=facts, origin="o") as gateway, asyncio.timeout(LIMIT):
            while (await gateway.ask("/one/about"))[0] != 200:
                pass
        entered = [place for place in (await shared.places()).here if place.origin.endswith("/o")]
        port = one.url.rpartition(":")[2]
        assert [place[:3] for place in entered] == [("one", "one-1", f"http://[2001:db8::1]:{port}")]
    assert [place for place in (await shared.places()).here if place.origin.endswith("/o")] == []


async def test_one_process_looks_at_all_services_and_servers_before_any_of_them_starts(
    describe: Any, code: str, tmp_path: Path
) -> None:
    file = tmp_path / f"{code}_one.py"
    file.write_text(
        file.read_text() + "\n@service.on('Paid', topic='till.events')\nasync def paid(event, tx): ...\n"
    )
    part = build(describe("preflight"))
    assert part.facts["warnings"] == ["one: no service publishes Paid on till.events"]
    found = await part.verbs["check"](migrate=False)
    assert found["told"] == [], "there is no server"
    assert "events are forgotten when the stack stops" in found["not_guaranteed"]
    await part.close()


@pytest.mark.parametrize("state", ["ok", "fail"])
async def test_what_it_finds_at_a_server_is_told_or_keeps_the_stack_from_starting(
    describe: Any, monkeypatch: pytest.MonkeyPatch, state: Any
) -> None:
    class Found:
        durable = False

        def __init__(self, profile: Any, loaded: Any, *, clock: Any, migrate: bool) -> None:
            assert [*loaded.services] == ["one", "two"]
            assert migrate

        async def run(self) -> list[Finding]:
            return [Finding("bus", state, "Kafka at h")]

    monkeypatch.setattr(preflight_part, "Preflight", Found)
    part = build(describe("preflight"))
    if state == "fail":
        with pytest.raises(UsageError, match="Kafka at h"):
            await part.verbs["check"](migrate=True)
    else:
        found = await part.verbs["check"](migrate=True)
        assert found["told"] == ["ok  bus    Kafka at h"]
        assert any("a power cut" in sentence for sentence in found["not_guaranteed"])
    await part.close()


@pytest.mark.parametrize(("role", "service"), [("service", "one"), ("gateway", "")])
async def test_its_servers_may_be_opened_before_it_starts(
    run: Any, monkeypatch: pytest.MonkeyPatch, role: str, service: str
) -> None:
    opened: list[Any] = []
    open_system = System.open

    async def noted(self: System, **options: Any) -> None:
        opened.append(options)
        await open_system(self, **options)

    monkeypatch.setattr(System, "open", noted)
    facts = {name: {"routes": [f"/{name}"]} for name in ("one", "two")}
    async with run(role, service, facts=facts, ahead=True):
        assert len(opened) == 1, "and not again"


async def test_what_only_one_process_may_do_is_done_by_the_helper(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "ops.sock"
    async with run("operations", control=str(path)):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"verb": "db.status", "args": {}}\n')
        async with asyncio.timeout(LIMIT):
            answer = json.loads(await reader.readline())
        writer.close()
    assert {item["service"] for item in answer["end"]["items"]} == {"one", "two"}
    assert not path.exists()


async def test_a_part_that_was_never_started_is_closed_all_the_same(describe: Any) -> None:
    for role, service in (("service", "one"), ("gateway", ""), ("operations", "")):
        made = build(describe(role, service))
        await made.close()


@pytest.mark.parametrize(
    ("advertised", "bound"),
    [("", "127.0.0.1"), ("far.example", "0.0.0.0"), ("10.0.0.5", "0.0.0.0"), ("2001:db8::1", "::")],
)
def test_an_instance_listens_where_others_are_told_to_look_for_it(
    monkeypatch: pytest.MonkeyPatch, advertised: str, bound: str
) -> None:
    monkeypatch.setenv("MICRO_ADVERTISE", advertised)
    try:
        with worker._listen() as sock:
            assert sock.getsockname()[0] == bound
    except ConfigurationError:
        assert bound == "::", "this machine has no IPv6"
