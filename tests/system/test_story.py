"""The story that the product is made for, over real sockets, with commands in terminals of their own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from pathlib import Path

import pytest

MICRO = str(Path(sys.executable).with_name("micro"))
PERSON = {"email": "ada@example.com", "name": "Ada", "password": "correct horse"}
EVENTS = [
    "NotificationSentEvent",
    "NotificationSentEvent",
    "TaskCompletedEvent",
    "TaskCreatedEvent",
    "UserCreatedEvent",
]
"""All that the story leads to, in the order of the alphabet."""


class Person:
    """Somebody with an HTTP client; each request on a connection of its own, as the stack dies in between."""

    def __init__(self):
        self.gateway = ""
        self.token = None

    def ask(self, method, path, body=None, *, status=200):
        connection = http.client.HTTPConnection(self.gateway, timeout=60)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        assert answer.status == status, found
        return json.loads(found or b"null")

    def log_in(self):
        password = {name: PERSON[name] for name in ("email", "password")}
        return self.ask("POST", "/auth/login", password)


@pytest.fixture
def ada():
    return Person()


def sent(ada):
    """Her notifications, once a welcome and a message about the task have gone out."""
    items = ada.ask("GET", "/notifications")["items"]
    return len(items) == 2 and {item["status"] for item in items} == {"sent"} and items


def items_of(finished):
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)["items"]


def types(printed):
    return [each["event"]["type"] for each in printed if each["topic"] != "system.events"]


def live_through(ada):
    """She registers, logs in, creates a task and completes it; what she has then."""
    user = ada.ask("POST", "/users", PERSON, status=201)
    granted = ada.log_in()
    ada.token = granted["access_token"]
    task = ada.ask("POST", "/tasks", {"title": "Write the report"}, status=201)
    assert task["owner_id"] == user["id"]
    done = ada.ask("POST", f"/tasks/{task['id']}/complete")
    assert done["status"] == "completed"
    return granted, done


def watched(tail):
    """All that came along in another terminal."""
    seen = []
    while len(types(seen)) < len(EVENTS):
        seen.append(json.loads(tail.line()))
    assert sorted(types(seen)) == EVENTS
    return seen


def check_trace(micro, seen, task):
    """From the request over the event to who handled it, and what that led to."""
    [completed] = [each["event"] for each in seen if each["event"]["type"] == "TaskCompletedEvent"]
    traced = micro("events", "trace", completed["id"])
    assert traced.returncode == 0, traced.stderr
    request, event, handler, effect = traced.stdout.splitlines()
    assert request.startswith(f"POST /tasks/{task['id']}/complete  200  task")
    assert event.startswith("└─ TaskCompletedEvent  task.events")
    assert handler.startswith("   └─ notification handled")
    assert effect.startswith("      └─ NotificationSentEvent  notification.events")


def check_refusal(second, pid):
    """A second stack in the folder."""
    assert second.returncode == 2
    assert second.stdout == ""
    assert f"process {pid}" in second.stderr
    assert "micro down" in second.stderr
    assert second.stderr.count("\n") <= 2


@pytest.mark.crash
@pytest.mark.usefixtures("built_in")
def test_from_the_first_request_over_kill_9_to_the_end(ada, up, run, micro, tmp_path):
    stack = up()
    ada.gateway = stack.gateway
    tail = run(MICRO, "events", "tail", "--since", "1h", "--json")
    assert json.loads(tail.line())["topic"] == "system.events"
    granted, task = live_through(ada)
    found = stack.until(lambda: sent(ada))
    assert {item["channel"] for item in found} == {"log"}
    assert any("Write the report" in item["subject"] + item["body"] for item in found)
    check_trace(micro, watched(tail), task)
    assert items_of(micro("dlq", "list", "--json")) == []

    os.kill(int((tmp_path / ".micro" / "lock").read_text()), signal.SIGKILL)
    assert stack.wait() == -signal.SIGKILL
    assert tail.wait() != 0
    before = items_of(micro("events", "list", "--json", "--limit", "0"))  # while no stack runs
    assert sorted(types(before)) == EVENTS
    assert micro("health").returncode == 2

    stack = up()
    ada.gateway = stack.gateway
    assert ada.ask("GET", f"/tasks/{task['id']}") == task
    assert ada.ask("GET", "/notifications")["items"] == found
    assert ada.ask("POST", "/auth/refresh", {"refresh_token": granted["refresh_token"]})["access_token"]
    assert ada.log_in()["access_token"]
    ada.ask("POST", "/users", PERSON, status=409)
    assert ada.ask("POST", f"/tasks/{task['id']}/complete") == task
    after = items_of(micro("events", "list", "--json", "--limit", "0"))
    assert [each for each in after if each in before] == before
    assert sorted(types(after)) == EVENTS

    check_refusal(micro("up"), stack.pid)
    assert ada.ask("GET", "/health")["status"] == "healthy"
    assert micro("down").returncode == 0
    assert stack.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        ada.ask("GET", "/health")
    assert not (tmp_path / ".micro" / "run.json").exists()
