"""`restart`, `scale` and `run` against a stack that answers as told."""

from __future__ import annotations

import pytest

from micro.errors import StackRunning

ANSWER = {"service": "task", "instances": ["task-1", "task-2"]}


def test_restart_prints_the_instances_that_run_then(micro, stack):
    stack.answers["restart"] = [{"end": ANSWER}]
    assert micro("restart", "task") == (0, "task: task-1, task-2\n", "")
    assert stack.asked[-1] == ("restart", {"service": "task"})
    assert micro("restart", "task", "--json").json == {"items": [ANSWER]}


def test_scale_takes_several_at_once(micro, stack):
    stack.answers["scale"] = [{"end": ANSWER}]
    assert micro("scale", "task=2", "user=3").out == "task: task-1, task-2\n" * 2
    assert [args for _, args in stack.asked] == [
        {"service": "task", "count": 2},
        {"service": "user", "count": 3},
    ]
    assert micro("scale", "task=2", "--json").json == {"items": [ANSWER]}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ((), "say how many of which, like: micro scale task=3"),
        (("task",), "task: write SERVICE=N, like task=3"),
        (("task=",), "task=: '' is not a number of instances"),
        (("task=two",), "task=two: 'two' is not a number of instances"),
        (("task=2", "user=-1"), "user=-1: '-1' is not a number of instances"),
    ],
)
def test_what_is_no_number_of_instances_is_refused_before_anything_is_asked(micro, stack, said, reason):
    assert micro("scale", *said) == (2, "", f"error: {reason}\n")
    assert stack.asked == []


def test_what_the_stack_refuses_is_its_own_sentence(micro, stack):
    stack.answers["scale"] = [{"error": {"kind": "usage", "message": "one process runs one instance"}}]
    assert micro("scale", "task=2") == (2, "", "error: one process runs one instance\n")


def test_run_needs_a_profile_whose_instances_are_processes(micro, home):
    code, out, err = micro("run", "task")
    assert (code, out) == (2, "")
    assert 'must be "multi" to run an instance by itself; try --profile prod' in err


def test_run_of_a_service_that_is_not_there_is_refused(micro, home):
    assert "there is no" in micro("run", "nobody").err or "no service 'nobody'" in micro("run", "nobody").err


def test_run_is_an_instance_without_a_gateway(micro, home, monkeypatch):
    monkeypatch.setenv("MICRO_STORE", "postgresql://h/{service}")
    monkeypatch.setenv("MICRO_BUS", "kafka://h:9092")
    monkeypatch.setenv("MICRO_CACHE", "redis://h:6379/0")
    seen = []

    def up(config, profile, *, observer, options):
        seen.append((profile.name, options.choice.names, options.choice.depends, options.choice.gateway))

    monkeypatch.setattr("micro.runtime.up.up", up)
    assert micro("run", "task", "--prod") == (0, "", "")
    assert seen == [("prod", ("task",), False, False)]

    def running(config, profile, *, observer, options):
        raise StackRunning("a stack already runs here")

    monkeypatch.setattr("micro.runtime.up.up", running)
    _, _, err = micro("run", "task", "--prod")
    assert err == "error: a stack runs in this folder; for more instances: micro scale task=N\n"
