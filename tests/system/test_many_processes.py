"""The stack as a process for each instance, on real servers: the same story, and what only many processes can show."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import threading
from contextlib import suppress

import pytest
from conftest import BUILT_IN, HERE, LIMIT, MICRO, Started

from micro.clock import SystemClock
from micro.infra.valkey import Valkey
from micro.runtime.keys import StackKeys
from micro.security.keys import SigningKey

pytestmark = pytest.mark.live

TOML = (
    BUILT_IN.replace("[stack]\n", '[stack]\nname = "many"\n')
    + """
[services.many]
service = "many:many"
port = 0
[services.caller]
service = "many:caller"
port = 0
depends = ["many"]
[profiles.prod]
runner = "multi"
replicas = { many = 2, task = 2, gateway = 2 }
"""
)
ADA = {"email": "ada@example.com", "name": "Ada", "password": "correct horse"}


def ask(host, method, path, body=None, token=None, **headers):
    """Status, fields and JSON of one answer, over a connection of its own."""
    fields = {
        "Content-Type": "application/json",
        **{key.replace("_", "-"): text for key, text in headers.items()},
    }
    if token:
        fields["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(host, timeout=LIMIT)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), fields)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), json.loads(answer.read() or b"null")
    finally:
        connection.close()


@pytest.fixture(scope="module")
def environ(postgres_server, kafka_server, redis_server):
    """Where the servers are, and the stack's key, for every machine of this stack."""
    return {
        "MICRO_STORE": postgres_server.replace("{service}", "many_{service}"),
        "MICRO_BUS": kafka_server,
        "MICRO_CACHE": f"{redis_server}?prefix=many:",
        "MICRO_STACK_KEY": SigningKey.generate(SystemClock()).to_json(),
        "PYTHONPATH": str(HERE),
    }


@pytest.fixture(scope="module")
def stack(tmp_path_factory, environ):
    folder = tmp_path_factory.mktemp("many")
    (folder / "micro.toml").write_text(TOML)
    started = Started(folder, [MICRO, "up", "--prod", "--migrate", "--json"], environ)
    started.environ = environ
    try:
        yield started.started()
        started.stop()
        assert "Traceback" not in started.errors
    finally:
        started.end()


def instances(stack, service):
    """What `micro ps` says of its instances."""
    return [row for row in stack.ask("ps")[0] if row["service"] == service]


def stack_token(stack, subject):
    """What `micro token` prints."""
    clock = SystemClock()
    return StackKeys(stack.folder / ".micro" / "keys", clock=clock, environ=stack.environ).token(
        subject, role="user", ttl=60
    )


def test_the_story_of_the_readme_is_the_same(stack):
    status, _, user = ask(stack.gateway, "POST", "/users", ADA)
    assert status == 201
    granted = ask(stack.gateway, "POST", "/auth/login", {key: ADA[key] for key in ("email", "password")})[2]
    token = granted["access_token"]
    status, _, task = ask(stack.gateway, "POST", "/tasks", {"title": "Write"}, token)
    assert (status, task["owner_id"]) == (201, user["id"])
    assert ask(stack.gateway, "POST", f"/tasks/{task['id']}/complete", token=token)[0] == 200

    def sent():
        items = ask(stack.gateway, "GET", "/notifications", token=token)[2]["items"]
        return len(items) == 2 and {item["status"] for item in items} == {"sent"} and items

    assert {item["subject"] for item in stack.until(sent)} == {"Welcome", "Completed: Write"}
    health = ask(stack.gateway, "GET", "/health")[2]
    assert (health["status"], len(health["services"])) == ("healthy", 5)
    paths = ask(stack.gateway, "GET", "/openapi.json")[2]["paths"]
    assert {"/tasks", "/users", "/notifications"} <= {*paths}
    assert ask(stack.service("task"), "GET", f"/tasks/{task['id']}", token=token)[0] == 200, (
        "on its own port, too"
    )


def test_what_a_request_led_to_is_found_over_all_processes(stack):
    person = {**ADA, "email": "eve@example.com"}
    _, fields, user = ask(stack.gateway, "POST", "/users", person)

    def led_to():
        nodes = json.dumps(stack.ask("events.trace", id=fields["x-request-id"])[1])
        return all(
            f'"{word}"' in nodes
            for word in ("request", "/users", "UserCreatedEvent", "NotificationSentEvent")
        )

    assert stack.until(led_to)
    assert ask(stack.gateway, "GET", f"/users/{user['id']}", token=stack_token(stack, user["id"]))[0] == 200


def test_a_call_crosses_processes_with_its_ids_and_its_trace(stack):
    trace = "0af7651916cd43dd8448eb211c80319c"
    status, fields, said = ask(
        stack.gateway, "GET", "/caller/far", traceparent=f"00-{trace}-b7ad6b7169203331-01"
    )
    assert status == 200
    here, there = said["here"], said["there"]
    assert here["pid"] != there["pid"]
    assert here["request_id"] == there["request_id"] == fields["x-request-id"]
    assert here["trace"] == there["trace"] == trace


def test_every_replica_gets_its_share_from_the_gateway_and_on_the_services_own_port(stack):
    pids = {row["pid"] for row in instances(stack, "many")}
    assert len(pids) == 2
    through = {ask(stack.gateway, "GET", "/many/near")[2]["pid"] for _ in range(6)}
    assert through == pids
    assert {ask(stack.service("many"), "GET", "/many/near")[2]["pid"] for _ in range(3)} <= pids


@pytest.mark.parametrize("proof", ["", "a.b.c"])
def test_a_header_alone_makes_nobody_a_part_of_the_stack(stack, proof):
    claims = {
        "x_user_id": "root",
        "x_request_id": "mine",
        "x_forwarded_for": "203.0.113.7",
        "x_micro_peer": proof,
    }
    private = f"127.0.0.1:{instances(stack, 'many')[0]['port']}"
    for host in (stack.gateway, stack.service("many"), private):
        said = ask(host, "GET", "/many/near", **claims)[2]
        assert said["user"] is None
        assert said["request_id"] != "mine"
        assert said["client"] == "127.0.0.1"


class Load:
    """Clients that ask the same again and again, each on a connection that it keeps.

    Where that ends without an answer they ask once more, on another, if they `resend`, as browsers do.
    """

    def __init__(self, host, path, clients=6, *, resend=False):
        self.answers = []
        self._tries = 2 if resend else 1
        self._host, self._path = host, path
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(LIMIT)

    def _work(self):
        connection = http.client.HTTPConnection(self._host, timeout=LIMIT)
        while not self._over.is_set():
            for _ in range(self._tries):
                try:
                    connection.request("GET", self._path)
                    answer = connection.getresponse()
                    answer.read()
                    outcome = answer.status
                    break
                except (OSError, http.client.HTTPException) as error:
                    outcome = repr(error)
                    connection.close()
            self.answers.append(outcome)
        connection.close()


def test_the_death_of_an_instance_fails_no_idempotent_request_and_it_is_back(stack):
    victim, other = instances(stack, "many")
    with Load(stack.gateway, "/many/near") as load:
        stack.until(lambda: len(load.answers) > 100)
        os.kill(victim["pid"], signal.SIGKILL)

        def is_back():
            rows = instances(stack, "many")
            return len(rows) == 2 and {row["state"] for row in rows} == {"healthy"} and rows

        rows = stack.until(
            lambda: victim["pid"] not in {row["pid"] for row in instances(stack, "many")} and is_back()
        )
        pids = {row["pid"] for row in rows}
        assert other["pid"] in pids
        stack.until(lambda: {ask(stack.gateway, "GET", "/many/near")[2]["pid"] for _ in range(6)} == pids)
    assert {*load.answers} == {200}, [answer for answer in load.answers if answer != 200][:5]

    def told():
        items = [item["event"] for item in stack.ask("events.list", topic="system.events", limit=0)[0]]
        return {item["type"] for item in items if item["data"].get("instance") == victim["instance"]} >= {
            "InstanceStartedEvent",
            "InstanceStoppedEvent",
        }

    assert stack.until(told)


def test_the_death_of_a_gateway_worker_costs_its_clients_a_connection_and_no_more(stack):
    """Its port stays open: the others accept from it, and whoever asks again is answered."""
    victim, other = instances(stack, "gateway")
    with Load(stack.gateway, "/many/near", resend=True) as load:
        stack.until(lambda: len(load.answers) > 100)
        os.kill(victim["pid"], signal.SIGKILL)

        def is_back():
            rows = instances(stack, "gateway")
            return {
                row["instance"] for row in rows if row["state"] == "healthy" and row["pid"] != victim["pid"]
            }

        stack.until(lambda: is_back() == {victim["instance"], other["instance"]})
    assert {*load.answers} == {200}


@pytest.mark.parametrize("service", ["many", "gateway"])
def test_replacing_every_instance_fails_no_request(stack, service):
    before = {row["pid"] for row in instances(stack, service)}
    with Load(stack.gateway, "/many/near") as load:
        stack.ask("restart", service=service)
        stack.until(lambda: len(load.answers) > 300)
    assert {*load.answers} == {200}
    assert not before & {row["pid"] for row in instances(stack, service)}


def test_an_instance_of_another_supervisor_joins_and_leaves(stack, environ, tmp_path):
    """As one on another machine does, with the same key and the same servers."""
    (tmp_path / "micro.toml").write_text(TOML.replace("replicas = { many = 2, task = 2, gateway = 2 }", ""))
    command = [MICRO, "up", "many", "--prod", "--json"]
    elsewhere = Started(tmp_path, command, environ)
    try:
        elsewhere.started()
        here = {row["pid"] for row in instances(stack, "many")}
        [row] = instances(elsewhere, "many")
        everyone = here | {row["pid"]}

        def answering(host):
            return {ask(host, "GET", "/many/near")[2]["pid"] for _ in range(9)}

        for host in (stack.gateway, elsewhere.gateway):
            stack.until(lambda host=host: answering(host) == everyone)
        with Load(stack.gateway, "/many/near") as load:
            elsewhere.stop()
        assert {*load.answers} == {200}
        assert answering(stack.gateway) == here
    finally:
        elsewhere.end()


def test_what_is_not_of_the_stack_is_not_found_by_it(stack, environ, tmp_path):
    """The same name and the same servers, but a key of its own."""
    (tmp_path / "micro.toml").write_text(TOML.replace("replicas = { many = 2, task = 2, gateway = 2 }", ""))
    alien = {name: value for name, value in environ.items() if name != "MICRO_STACK_KEY"}
    other = Started(tmp_path, [MICRO, "up", "many", "--prod", "--json"], alien)
    try:
        other.started()
        [row] = instances(other, "many")
        pids = {ask(other.gateway, "GET", "/many/near")[2]["pid"] for _ in range(9)}
        assert pids == {row["pid"]}
        assert row["pid"] not in {ask(stack.gateway, "GET", "/many/near")[2]["pid"] for _ in range(9)}
        with suppress(ProcessLookupError):
            other.stop()
    finally:
        other.end()


ALONE = """
[services.many]
service = "many:many"
port = 0
[gateway]
port = 0
rate_limit = "100000/second"
[profiles.prod]
runner = "multi"
replicas = { many = 2 }
"""


def test_without_the_cache_server_everybody_goes_on_with_who_is_there(environ, tmp_path):
    """Limits are counted by each gateway alone then, and health says so; instances still come and go."""
    valkey = Valkey(tmp_path / "valkey", clock=SystemClock())
    asyncio.run(valkey.start(lambda text: None))
    (tmp_path / "micro.toml").write_text(ALONE)
    mine = {**environ, "MICRO_CACHE": valkey.url(valkey.record)}
    stack = Started(tmp_path, [MICRO, "up", "--prod", "--migrate", "--json"], mine)
    try:
        stack.started()
        os.kill(valkey.pid, signal.SIGKILL)
        with Load(stack.gateway, "/many/near") as load:
            stack.until(
                lambda: ask(stack.gateway, "GET", "/health")[2]["services"].get("cache") == "degraded"
            )
            stack.until(lambda: stack.ask("health")[1]["services"].get("cache") == "degraded")
            stack.ask("restart", service="many")
        assert {*load.answers} == {200}
        assert len({ask(stack.gateway, "GET", "/many/near")[2]["pid"] for _ in range(6)}) == 2
        stack.stop()
    finally:
        stack.end()
        asyncio.run(valkey.stop())
