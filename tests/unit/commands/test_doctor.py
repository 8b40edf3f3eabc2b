"""`micro doctor` and `micro version`, and the checks behind the first."""

from __future__ import annotations

import json
import resource
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from micro.runtime.doctor import check_files, check_folder, check_port, check_sqlite


@pytest.fixture
def _free_ports(home):
    """A stack whose ports nobody has."""
    (home / "hello.py").write_text("async def app(scope, receive, send): ...")
    (home / "micro.toml").write_text(
        '[gateway]\nport = 0\n[services.hello]\napp = "hello:app"\nroutes = ["/"]\n'
    )


@pytest.mark.usefixtures("_free_ports")
class TestDoctor:
    def test_each_check_is_a_line_with_what_to_do(self, micro):
        code, out, err = micro("doctor")
        assert (code, err) == (0, "")
        states = {line[:4].strip() for line in out.splitlines() if not line.startswith(" ")}
        assert states <= {"ok", "warn"}
        for check in (
            "python",
            "sqlite",
            "open files",
            "configuration",
            "state folder",
            "back ends",
            "services",
            "port",
        ):
            assert check in out

    def test_as_json_it_is_one_object(self, micro):
        items = micro("doctor", "--json").json["items"]
        assert all(item.keys() == {"check", "state", "detail", "advice"} for item in items)
        assert {"check": "running stack", "state": "ok", "detail": "none", "advice": ""} in items

    def test_a_port_in_use_fails_and_says_who_wants_it(self, micro, home):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            text = (home / "micro.toml").read_text()
            (home / "micro.toml").write_text(
                text.replace("[gateway]\nport = ", f"[gateway]\nport = {port} #")
            )
            code, out, _ = micro("doctor")
        assert code == 1
        assert f"fail  port {port}" in out
        assert f"gateway: 127.0.0.1:{port}: Address already in use" in out
        assert f"lsof -i :{port}" in out

    def test_a_stack_that_runs_is_asked_how_it_is_and_its_ports_are_its_own(self, micro, stack):
        stack.answers["health"] = [{"end": {"status": "healthy"}}]
        code, out, _ = micro("doctor")
        assert code == 0
        assert "running stack   process" in out
        assert "port" not in out

    def test_a_stack_that_runs_unwell_fails(self, micro, stack):
        stack.answers["health"] = [{"end": {"status": "degraded"}}]
        code, out, _ = micro("doctor")
        assert code == 1
        assert "see: micro health" in out

    def test_a_stack_that_answers_nonsense_fails(self, micro, stack):
        stack.answers["health"] = [{"nonsense": 1}]
        code, out, _ = micro("doctor")
        assert code == 1
        assert "fail  running stack" in out

    def test_warnings_of_the_configuration_are_shown(self, micro, home):
        (home / "pyproject.toml").write_text("[tool.micro]\n")
        code, out, _ = micro("doctor")
        assert code == 0
        assert "warn  configuration" in out
        assert "ignored" in out


def test_the_port_of_a_service_is_looked_at_too(micro, home):
    (home / "other.py").write_text("async def app(scope, receive, send): ...")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (home / "micro.toml").write_text(
            f'[gateway]\nport = 0\n[services.other]\napp = "other:app"\nroutes = ["/"]\nport = {port}\n'
        )
        code, out, _ = micro("doctor")
    assert code == 1
    assert f"other: 127.0.0.1:{port}: Address already in use" in out


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("[broken", "configuration"),
        ('[services.x]\napp = "no_such_module:app"\nroutes = ["/"]\n', "services"),
        (
            '[services.x]\napp = "plainly:app"\n[profiles.dev]\nstore = "mysql://h/{service}"\n',
            "back ends",
        ),
    ],
)
def test_what_keeps_a_stack_from_starting_is_one_failure_and_the_rest_is_not_looked_at(
    micro, home, text, check
):
    (home / "plainly.py").write_text("async def app(scope, receive, send): ...")
    (home / "micro.toml").write_text(f"[gateway]\nport = 0\n{text}")
    result = micro("doctor", "--json")
    assert result.code == 1
    (failure,) = (item for item in result.json["items"] if item["state"] == "fail")
    assert failure["check"] == check
    assert "micro.toml" in failure["detail"]
    assert failure["advice"]


def test_a_profile_whose_servers_are_neither_named_nor_running_fails_with_both_ways_out(micro):
    code, out, _ = micro("doctor", "--prod")
    assert code == 1
    assert "set MICRO_STORE, MICRO_BUS and MICRO_CACHE" in out
    assert "micro up --prod --infra" in out


@pytest.mark.parametrize(
    ("version", "state"), [((3, 36, 0), "fail"), ((3, 40, 1), "warn"), ((3, 51, 3), "ok"), ((4, 0, 0), "ok")]
)
def test_an_sqlite_with_the_wal_bug_is_a_warning_and_one_without_strict_tables_a_failure(
    version, state, monkeypatch
):
    monkeypatch.setattr("sqlite3.sqlite_version_info", version)
    finding = check_sqlite()
    assert finding.state == state
    assert bool(finding.advice) is (state != "ok")


@pytest.mark.parametrize(("limit", "state"), [(256, "warn"), (1024, "ok"), (resource.RLIM_INFINITY, "ok")])
def test_few_file_descriptors_are_a_warning(limit, state):
    finding = check_files(limit)
    assert finding.state == state
    assert bool(finding.advice) is (state == "warn")


def test_a_state_folder_that_can_be_made_is_good(tmp_path):
    assert check_folder(tmp_path / "a" / ".micro").state == "ok"
    assert not (tmp_path / "a").exists(), "nothing is changed"


def test_a_file_where_the_state_folder_should_be_fails(tmp_path):
    (tmp_path / ".micro").write_text("")
    assert check_folder(tmp_path / ".micro").state == "fail"


def test_a_free_port_is_good_in_both_families():
    for host in ("127.0.0.1", "::1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family) as server:
            port = server.getsockname()[1]
            assert check_port("task", host, port).state == "fail"
        assert check_port("task", host, port).state == "ok"


def test_version_prints_what_is_in_use(micro):
    code, out, _ = micro("version")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()][:3] == ["micro", "python", "sqlite"]
    versions = micro("version", "--json").json
    assert list(versions) == [line.split()[0] for line in out.splitlines()]
    assert json.dumps(versions)


class Answers(BaseHTTPRequestHandler):
    """A server somewhere: well at `/up`, unknown elsewhere."""

    def do_GET(self):
        self.send_response(204 if self.path == "/up" else 404)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def members(home, text):
    (home / "micro.toml").write_text(f"[gateway]\nport = 0\n{text}")


def test_each_server_of_a_member_is_asked_at_its_health_path(micro, home, server):
    members(home, f'[services.far]\nurl = ["{server}", "http://127.0.0.1:9"]\nhealth = "/up"\n')
    code, out, _ = micro("doctor")
    assert code == 0, "others may start it later"
    assert f"ok    service far     {server}: GET /up is answered" in out
    assert "warn  service far     http://127.0.0.1:9: GET /up: " in out


def test_a_server_that_knows_no_health_is_a_warning_that_says_what_to_mend(micro, home, server):
    members(home, f'[services.far]\nurl = "{server}"\n')
    code, out, _ = micro("doctor")
    assert code == 0
    assert f"warn  service far     {server}: GET /health: GET /health answers 404" in out
    assert "mend url or health" in out


def test_the_program_of_a_member_is_looked_for(micro, home):
    members(home, '[services.tool]\ncommand = "sh x"\n[services.lost]\ncommand = "no-such-tool"\n')
    code, out, _ = micro("doctor")
    assert code == 1
    assert "ok    service tool    /" in out
    assert (
        "fail  service lost    micro.toml: services.lost.command: there is no program 'no-such-tool'" in out
    )


def test_members_are_looked_at_beside_a_stack_that_runs_too(micro, home, stack, server):
    members(home, f'[services.far]\nurl = "{server}"\nhealth = "/up"\n')
    stack.answers["health"] = [{"end": {"status": "healthy"}}]
    code, out, _ = micro("doctor")
    assert code == 0
    assert "GET /up is answered" in out


@pytest.mark.live
@pytest.mark.usefixtures("_free_ports")
def test_each_server_of_the_profile_is_a_line(micro, kafka_server, redis_server, monkeypatch):
    for name, url in {
        "BUS": kafka_server,
        "CACHE": redis_server,
        "STORE": "postgresql://h/{service}",
    }.items():
        monkeypatch.setenv(f"MICRO_{name}", url)
    lines = {item["check"]: item for item in micro("doctor", "--json").json["items"]}
    assert lines["bus"]["detail"].startswith("Kafka at 127.0.0.1:")
    assert lines["cache"]["detail"].startswith("Valkey 9.")
    assert "store" not in lines, "the one service is an app without a database"
    monkeypatch.setenv("MICRO_CACHE", "redis://127.0.0.1:1/0")
    failed = micro("doctor")
    assert failed.code == 1
    assert "fail  cache           cache: 127.0.0.1:1: no server answers" in failed.out
