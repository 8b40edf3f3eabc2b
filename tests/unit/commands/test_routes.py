"""`routes` against a stack that answers as told."""

from __future__ import annotations

import pytest

ROW = {
    "path": "/tasks",
    "exact": False,
    "methods": None,
    "host": None,
    "headers": {},
    "query": {},
    "service": "task",
    "rewrite": None,
    "auth": "required",
    "timeout": 15.0,
    "rate_limit": "100/minute",
    "rate_limits": [],
    "policies": [],
    "instances": [],
}
SPECIAL = {
    **ROW,
    "exact": True,
    "methods": ["GET", "HEAD"],
    "host": "*.example.com",
    "headers": {"x-v": "2"},
    "query": {"beta": "*"},
    "rewrite": "/",
    "rate_limits": ["5/second by user"],
}
INSTANCES = [
    {"instance": "10.0.0.1:80", "state": "healthy", "active": 3, "weight": 1.0, "reason": ""},
    {"instance": "10.0.0.2:80", "state": "ejected", "active": 0, "weight": 0.0, "reason": "5 failures"},
]


def test_routes_are_listed(micro, stack):
    stack.answers["routes"] = [{"end": {"items": [ROW, {**ROW, "methods": ["GET", "HEAD"]}]}}]
    lines = micro("routes").out.splitlines()
    assert lines[0].split() == ["PATH", "METHODS", "SERVICE", "AUTH", "TIMEOUT", "RATE", "LIMIT"]
    assert lines[1].split() == ["/tasks", "all", "task", "required", "15", "s", "100/minute"]
    assert "GET, HEAD" in lines[2]
    assert len(lines) == 3


def test_conditions_and_changed_paths_have_columns_where_there_are_some(micro, stack):
    stack.answers["routes"] = [{"end": {"items": [ROW, SPECIAL]}}]
    lines = micro("routes").out.splitlines()
    assert lines[0].split("  ")[0] == "PATH"
    assert "WHEN" in lines[0]
    assert "SENT AS" in lines[0]
    assert "this path only, host *.example.com, x-v: 2, ?beta=*" in lines[2]
    assert lines[2].endswith("100/minute, 5/second by user")


def test_the_instances_of_a_service_are_listed_once(micro, stack):
    row = {**ROW, "instances": INSTANCES}
    stack.answers["routes"] = [{"end": {"items": [row, {**row, "path": "/jobs"}]}}]
    lines = micro("routes").out.splitlines()
    assert lines[3:] == [
        "",
        "SERVICE  INSTANCE     STATE    ACTIVE  REASON",
        "task     10.0.0.1:80  healthy  3",
        "task     10.0.0.2:80  ejected  0       5 failures",
    ]


def test_routes_as_json_are_one_object(micro, stack):
    stack.answers["routes"] = [{"end": {"items": [{**ROW, "instances": INSTANCES}]}}]
    assert micro("routes", "--json").json == {"items": [{**ROW, "instances": INSTANCES}]}


def test_without_a_route_that_is_said(micro, stack):
    stack.answers["routes"] = [{"end": {"items": []}}]
    assert micro("routes").err == "no routes\n"


MET = {
    "method": "GET",
    "path": "/tasks/1?x=1",
    "outcome": "route",
    "route": {**SPECIAL, "instances": INSTANCES},
    "service": "task",
    "target": "/1",
    "policies": ["size: at most 10 bytes", "auth: a token"],
    "middleware": [],
    "timeout": 15.0,
    "adapter": "protocol",
}


def test_of_one_request_it_says_what_it_meets_in_order(micro, stack):
    stack.answers["routes"] = [{"end": MET}]
    code, out, _ = micro("routes", "get", "/tasks/1?x=1")
    assert code == 0
    assert out.splitlines() == [
        "method            GET",
        "path              /tasks/1?x=1",
        "outcome           route",
        "route             GET, HEAD /tasks (this path only, host *.example.com, x-v: 2, ?beta=*)",
        "service           task",
        "target            /1",
        "policies",
        "  size: at most 10 bytes",
        "  auth: a token",
        "timeout           15 s",
        "adapter           protocol",
        "task  10.0.0.1:80  healthy  3",
        "task  10.0.0.2:80  ejected  0  5 failures",
    ]
    assert stack.asked == [("routes", {"method": "GET", "path": "/tasks/1?x=1"})]
    assert micro("routes", "GET", "/tasks/1", "--json").json == MET


def test_a_target_that_is_the_path_is_not_repeated(micro, stack):
    stack.answers["routes"] = [{"end": {**MET, "route": ROW, "target": "/tasks/1"}}]
    out = micro("routes", "GET", "/tasks/1").out
    assert "target" not in out
    assert "route             /tasks\n" in out


def test_a_refusal_is_told(micro, stack):
    met = {
        "method": "GET",
        "path": "/x",
        "outcome": "refused",
        "status": 404,
        "reason": "No route leads there.",
    }
    stack.answers["routes"] = [{"end": met}]
    assert micro("routes", "GET", "/x").out.splitlines()[2:] == [
        "outcome           refused",
        "status            404",
        "reason            No route leads there.",
    ]


def test_a_request_may_have_a_host_and_fields(micro, stack):
    stack.answers["routes"] = [{"end": MET}]
    assert (
        micro("routes", "GET", "/x", "--host", "a.example", "-H", "X-V: 2", "--header", "Accept: a:b").code
        == 0
    )
    headers = [["host", "a.example"], ["x-v", "2"], ["accept", "a:b"]]
    assert stack.asked == [("routes", {"method": "GET", "path": "/x", "headers": headers})]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["GET"], "micro routes GET /tasks"),
        (["--host", "a.example"], "micro routes GET /tasks"),
        (["GET", "/x", "-H", "nonsense"], "write 'Name: value'"),
    ],
)
def test_misuse_is_told_how_to_mend(micro, arguments, hint):
    code, _, err = micro("routes", *arguments)
    assert code == 2
    assert hint in err


def test_the_configuration_is_read_again(micro, stack):
    done = {"changed": True, "notes": ["the gateway's settings are in force"]}
    stack.answers["routes.reload"] = [{"end": done}]
    assert micro("routes", "reload") == (0, "", "the gateway's settings are in force\n")
    assert micro("routes", "reload", "--json").json == done
    stack.answers["routes.reload"] = [{"end": {"changed": False, "notes": []}}]
    assert micro("routes", "reload").err == "nothing has changed since micro.toml was last read\n"


def test_why_it_was_refused_is_told(micro, stack):
    message = "micro.toml: gateway.prot: unknown key; did you mean 'port'?"
    stack.answers["routes.reload"] = [{"error": {"kind": "usage", "message": message}}]
    assert micro("routes", "reload") == (2, "", f"error: {message}\n")
