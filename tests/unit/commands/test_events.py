"""`micro events …` against a stack that answers as told."""

from __future__ import annotations

import json
import os
import pty
import signal

import pytest


def event(number: int, **data) -> dict:
    return {
        "topic": "task.events",
        "partition": 3,
        "offset": number,
        "event": {
            "specversion": "1.0",
            "id": f"event-{number}",
            "source": "task",
            "type": "TaskCreatedEvent",
            "subject": f"key-{number}",
            "time": "2026-01-01T12:00:00.123Z",
            "correlationid": "c",
            "causationid": "r",
            "data": data,
        },
    }


def items(*events: dict) -> list[dict]:
    return [*({"item": each} for each in events), {"end": {}}]


def test_tail_prints_one_line_for_each_event(micro, stack, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    stack.answers["events.tail"] = items(event(1, title="Milk"), event(2, title="Tea"))
    code, out, _ = micro("events", "tail")
    assert code == 0
    first, second = out.splitlines()
    assert first.split() == ["12:00:00.123", "task.events", "TaskCreatedEvent", "key-1", "title=Milk"]
    assert second.endswith("title=Tea")


def test_tail_sends_its_filters_and_leaves_out_what_was_not_said(micro, stack):
    stack.answers["events.tail"] = items()
    micro(
        "events",
        "tail",
        "--topic",
        "t",
        "--type",
        "T",
        "--key",
        "k",
        "--correlation",
        "c",
        "--since",
        "1h",
        "--limit",
        "3",
    )
    micro("events", "tail")
    assert stack.asked == [
        (
            "events.tail",
            {"topic": "t", "type": "T", "key": "k", "correlation": "c", "since": "1h", "limit": 3},
        ),
        ("events.tail", {"limit": 0}),
    ]


def test_tail_without_following_lists_what_there_is(micro, stack):
    stack.answers["events.list"] = items(event(1))
    result = micro("events", "tail", "--no-follow", "--json")
    assert json.loads(result.out) == event(1), "one object a line, not an object of items"
    assert stack.asked == [("events.list", {"limit": 0})]


def test_tail_as_json_prints_each_object_when_it_comes(micro_process, stack):
    stack.answers["events.tail"] = [{"item": event(1)}, {"item": event(2)}, "hold"]
    process = micro_process("events", "tail", "--json")
    with process:
        assert json.loads(process.stdout.readline()) == event(1)
        assert json.loads(process.stdout.readline()) == event(2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""


def test_the_reader_of_a_tail_may_leave(micro_process, stack):
    stack.answers["events.tail"] = [{"item": event(n)} for n in range(5000)] + ["hold"]
    process = micro_process("events", "tail")
    with process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_tail_on_a_terminal_is_coloured_and_short(micro_process, stack, monkeypatch):
    stack.answers["events.tail"] = items(event(1, text="x" * 500))
    master, slave = pty.openpty()
    process = micro_process("events", "tail", stdout=slave, env={**os.environ, "TERM": "xterm"})
    with process:
        os.close(slave)
        assert process.wait(60) == 0
        text = os.read(master, 4000).decode()
        os.close(master)
    assert "\x1b[" in text
    assert "x" * 500 not in text
    assert "…" in text


def test_a_pipe_gets_all_of_the_data(micro, stack):
    stack.answers["events.tail"] = items(event(1, text="x" * 500))
    assert "x" * 500 in micro("events", "tail").out


@pytest.mark.parametrize(
    "odd",
    [
        {"topic": "t", "partition": 0, "offset": 0, "event": None, "raw": "////"},
        {"topic": "t", "partition": 0, "offset": 0, "event": [1, 2]},
        {"topic": "t", "partition": 0, "offset": 0, "event": {"data": "text", "time": 7}},
        {"topic": "t", "partition": 0, "offset": 0, "event": {"time": "noon", "type": None, "data": None}},
    ],
)
def test_what_is_no_event_is_still_one_line(micro, stack, odd):
    stack.answers["events.tail"] = items(odd)
    code, out, _ = micro("events", "tail")
    assert code == 0
    assert out.count("\n") == 1


def test_data_that_would_forge_a_line_is_escaped(micro, stack):
    stack.answers["events.tail"] = items(event(1, title="a\nforged \x1b[2J"))
    out = micro("events", "tail").out
    assert out.count("\n") == 1
    assert "\x1b" not in out


def test_list_has_fifty_unless_said_and_is_one_object_as_json(micro, stack):
    stack.answers["events.list"] = items(event(1), event(2))
    assert micro("events", "list", "--json").json == {"items": [event(1), event(2)]}
    assert stack.asked == [("events.list", {"limit": 50})]
    assert len(micro("events", "list").out.splitlines()) == 2


def test_an_empty_list_says_so_outside_the_data(micro, stack):
    stack.answers["events.list"] = items()
    assert micro("events", "list") == (0, "", "no events\n")
    assert micro("events", "list", "--json").json == {"items": []}


def test_publish_sends_the_data_as_an_object(micro, stack):
    stack.answers["events.publish"] = [{"end": event(1, title="Milk")}]
    code, out, _ = micro("events", "publish", "task.events", "T", "--key", "k", "--data", '{"title": "Milk"}')
    assert code == 0
    assert "title=Milk" in out
    assert stack.asked == [
        ("events.publish", {"topic": "task.events", "type": "T", "key": "k", "data": {"title": "Milk"}})
    ]
    assert micro("events", "publish", "t", "T", "--key", "k", "--json").json == event(1, title="Milk")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{bad", "is not JSON"),
        ("[1]", "is JSON, but no object"),
        ('{"x": NaN}', "NaN is not part of JSON"),
        ("@missing.json", "can't be read"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_publish_refuses_data_that_is_no_json_object(micro, data, said):
    code, out, err = micro("events", "publish", "t", "T", "--key", "k", "--data", data)
    assert (code, out) == (2, "")
    assert err.startswith("error: --data ")
    assert said in err
    assert err.count("\n") == 1


def test_publish_reads_data_from_a_file_or_from_standard_input(micro, stack, home, monkeypatch):
    stack.answers["events.publish"] = [{"end": event(1)}]
    (home / "data.json").write_text('{"from": "file"}')
    micro("events", "publish", "t", "T", "--key", "k", "--data", "@data.json")
    with (home / "data.json").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        micro("events", "publish", "t", "T", "--key", "k", "--data", "-")
    assert [args["data"] for _, args in stack.asked] == [{"from": "file"}] * 2


TRACE = {
    "roots": [
        {
            "kind": "request",
            "id": "r",
            "service": "task",
            "method": "POST",
            "path": "/tasks",
            "status": 201,
            "duration_ms": 3.25,
            "time": "2026-01-01T12:00:00.000Z",
            "children": [
                {
                    "kind": "event",
                    "id": "e",
                    "service": "task",
                    "topic": "task.events",
                    "type": "TaskCreatedEvent",
                    "key": "k",
                    "time": "2026-01-01T12:00:00.001Z",
                    "children": [
                        {
                            "kind": "handler",
                            "service": "notification",
                            "state": "handled",
                            "time": "2026-01-01T12:00:00.002Z",
                            "children": [],
                        },
                        {
                            "kind": "handler",
                            "service": "audit",
                            "state": "dead",
                            "time": None,
                            "attempts": 8,
                            "error": {"type": "ValueError", "message": "no"},
                            "children": [],
                        },
                    ],
                }
            ],
        }
    ]
}


def test_trace_draws_the_tree_from_the_request_to_the_last_handler(micro, stack):
    stack.answers["events.trace"] = [{"end": TRACE}]
    code, out, _ = micro("events", "trace", "r")
    assert code == 0
    request, published, handled, dead = out.splitlines()
    assert "POST /tasks" in request
    assert "201" in request
    assert published.startswith("└─ ")
    assert "TaskCreatedEvent" in published
    assert handled.startswith("   ├─ ")
    assert "notification" in handled
    assert dead == "   └─ audit dead  ValueError: no"
    assert stack.asked == [("events.trace", {"id": "r", "since": "1h"})]
    assert micro("events", "trace", "r", "--json").json == TRACE


def test_a_trace_of_nothing_says_how_to_look_further_back(micro, stack):
    stack.answers["events.trace"] = [{"end": {"roots": []}}]
    code, out, err = micro("events", "trace", "r", "--since", "10m")
    assert (code, out) == (1, "")
    assert "nothing is known of r since 10m" in err


def test_stats_show_topics_subscribers_and_outboxes(micro, stack):
    stats = {
        "topics": [{"topic": "task.events", "partitions": 12, "events": 5, "newest": "2026-01-01T12:00:00Z"}],
        "subscribers": [
            {"subscriber": "notification", "topic": "task.events", "lag": 2, "parked": 1, "dead": 0}
        ],
        "outboxes": [],
    }
    stack.answers["events.stats"] = [{"end": stats}]
    code, out, err = micro("events", "stats")
    assert code == 0
    assert out.splitlines()[1].split()[:3] == ["task.events", "5", "12"]
    assert out.splitlines()[4].split() == ["notification", "task.events", "2", "1", "0"]
    assert err == "no outboxes\n"
    assert micro("events", "stats", "--json").json == stats


def test_replay_shows_its_plan_and_does_nothing_unless_told(micro, stack):
    stack.answers["events.replay"] = [{"end": {"service": "task", "events": 3}}]
    code, out, err = micro("events", "replay", "--service", "task", "--since", "2h")
    assert (code, out) == (0, "")
    assert err == "nothing done; with --yes: apply 3 events to task again\n"
    assert stack.asked == [("events.replay", {"service": "task", "since": "2h", "dry_run": True})]


def test_a_replay_of_nothing_says_so(micro, stack):
    stack.answers["events.replay"] = [{"end": {"service": "task", "events": 0}}]
    code, out, err = micro("events", "replay", "--service", "task", "--yes")
    assert (code, out, err) == (0, "", "nothing to do: apply 0 events to task again\n")


def test_replay_does_it_with_yes(micro, stack):
    stack.answers["events.replay"] = [{"end": {"service": "task", "events": 1}}]
    code, _, err = micro("events", "replay", "--service", "task", "--yes")
    assert code == 0
    assert err == "done: apply 1 event to task again\n"
    assert [args["dry_run"] for _, args in stack.asked] == [True, False]
    assert micro("events", "replay", "--service", "task", "-y", "--json").json == {
        "service": "task",
        "events": 1,
        "done": True,
    }


def test_replay_that_parks_events_again_is_not_well(micro, stack):
    stack.answers["events.replay"] = [{"end": {"service": "task", "events": 3, "parked": 1}}]
    code, _, err = micro("events", "replay", "--service", "task", "--yes")
    assert code == 1
    assert err.endswith("1 event failed and will be tried again; see: micro dlq list\n")


def test_replay_needs_a_service(micro):
    code, _, err = micro("events", "replay")
    assert code == 2
    assert "--service" in err
