"""Lines for people, from data."""

from __future__ import annotations

import re
import time

import pytest

from micro.commands import render


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture(autouse=True)
def _east_of_greenwich(monkeypatch):
    """Times are shown as the person's own."""
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_moment_is_shown_in_local_time():
    assert render.clock_time("2026-01-01T12:00:00.123Z") == "14:00:00.123"
    assert render.local_time("2026-01-01T23:00:00Z") == "2026-01-02 01:00:00"


@pytest.mark.parametrize(("moment", "shown"), [(None, ""), ("", ""), ("noon", "noon"), (7, "7")])
def test_what_is_no_moment_is_shown_as_it_is(moment, shown):
    assert render.clock_time(moment) == shown
    assert render.local_time(moment) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0.0, "0 ms"),
        (0.0351, "35 ms"),
        (0.351, "0.35 s"),
        (9.44, "9.4 s"),
        (12.2, "12 s"),
        (59.9, "1 m 0 s"),
        (185, "3 m 5 s"),
        (7800, "2 h 10 m"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_span_is_shown_in_the_two_units_that_matter(seconds, shown):
    assert render.span(seconds) == shown


def test_one_is_singular():
    assert (render.count(1, "event"), render.count(0, "event"), render.count(2, "event")) == (
        "1 event",
        "0 events",
        "2 events",
    )


@pytest.mark.parametrize(("status", "color"), [(200, "green"), (302, "green"), (404, "yellow"), (503, "red")])
def test_a_status_has_the_colour_of_whose_fault_it_is(status, color):
    assert render.status_color(status) == color


def test_an_access_line_names_the_service_that_was_asked():
    record = {
        "time": "2026-01-01T12:00:00Z",
        "method": "GET",
        "path": "/tasks",
        "status": 200,
        "duration_ms": 1.26,
        "upstream": "task",
        "service": "gateway",
    }
    assert plain(render.access_line(record)).split() == [
        "14:00:00.000",
        "task",
        "GET",
        "/tasks",
        "200",
        "1.3",
        "ms",
    ]
    assert plain(render.access_line({**record, "upstream": ""})).split()[1] == "gateway"


def test_a_state_is_green_yellow_or_red():
    assert [render.state(word)[:5] for word in ("healthy", "starting", "dead", "anything")] == [
        "\x1b[32m",
        "\x1b[33m",
        "\x1b[31m",
        "\x1b[31m",
    ]


def test_a_kind_of_node_that_came_later_is_drawn_with_what_is_known():
    trace = {"roots": [{"kind": "dream", "id": "x"}]}
    assert list(render.trace_lines(trace)) == ["dream x"]


def test_a_request_that_has_no_answer_yet_is_drawn():
    node = {
        "kind": "request",
        "id": "r",
        "method": "GET",
        "path": "/",
        "status": None,
        "duration_ms": None,
        "service": None,
    }
    assert plain(next(iter(render.trace_lines({"roots": [node]})))) == "GET /"


class TestDetails:
    def test_every_member_has_its_line_and_what_lies_within_is_below_it(self):
        thing = {
            "id": "x",
            "nothing": None,
            "none": [],
            "no": {},
            "event": {"subject": "k", "data": {"a": 1}},
            "policies": ["size", "auth"],
            "stack": "Traceback\n  boom",
            "a_name_longer_than_its_column": 1,
        }
        assert [plain(line) for line in render.details(thing)] == [
            "id                x",
            "nothing           -",
            "none              -",
            "no                -",
            "event",
            "  subject         k",
            "  data",
            "    a             1",
            "policies",
            "  size",
            "  auth",
            "stack",
            "  Traceback",
            "    boom",
            "a_name_longer_than_its_column 1",
        ]

    def test_nothing_falsy_but_present_is_hidden(self):
        assert [plain(line) for line in render.details({"count": 0, "on": False, "text": ""})] == [
            "count             0",
            "on                false",
            "text              ",
        ]


class TestLogLines:
    def test_a_record_is_one_line_with_its_extra_fields(self):
        record = {
            "time": "2026-01-01T12:00:00Z",
            "level": "warning",
            "service": "task",
            "message": "slow",
            "extra": {"ms": 7},
        }
        (line,) = render.log_lines(record)
        assert plain(line).split() == ["14:00:00.000", "warning", "task", "slow", "ms=7"]
        assert "\x1b[33m" in line

    def test_an_exception_stands_below_its_record(self):
        lines = list(
            render.log_lines({"message": "failed", "level": "error", "exception": "Traceback\n  boom"})
        )
        assert lines[1:] == ["    Traceback", "      boom"]

    def test_a_record_that_lacks_everything_is_still_a_line(self):
        assert len(list(render.log_lines({}))) == 1


class TestEventLine:
    def test_the_columns_of_events_stand_below_each_other(self):
        def line(topic: str, type: str) -> str:
            return plain(
                render.event_line({"topic": topic, "event": {"type": type, "subject": "k"}}, short=True)
            )

        assert line("task.events", "TaskCreatedEvent").index("  k") == line(
            "user.events", "UserCreatedEvent"
        ).index("  k")

    @pytest.mark.parametrize(("short", "length"), [(True, 160), (False, 1002)])
    def test_only_a_terminal_gets_the_data_cut(self, short, length):
        line = render.event_line(
            {"topic": "t", "event": {"type": "T", "data": {"x": "y" * 1000}}}, short=short
        )
        data = plain(line).split("  ")[-1].strip()
        assert len(data) == length
        assert data.endswith("…") is short

    @pytest.mark.parametrize(
        ("data", "shown"),
        [
            ({"a": 1, "b": None}, "a=1 b=null"),
            ({"on": True, "who": {"name": "Ö"}, "text": "a b"}, 'on=true who={"name": "Ö"} text=a b'),
            ({}, ""),
            (None, ""),
            ("text", "text"),
            ([1], "[1]"),
            (0, "0"),
        ],
    )
    def test_data_is_shown_as_pairs_where_it_is_an_object(self, data, shown):
        assert render.pairs(data) == shown


class TestTrace:
    def test_a_tree_is_as_deep_as_its_causes(self):
        leaf = {"kind": "handler", "service": "audit", "state": "waiting", "children": []}
        inner = {
            "kind": "event",
            "id": "e",
            "type": "E",
            "topic": "t",
            "key": "",
            "service": "a",
            "children": [leaf],
        }
        handler = {"kind": "handler", "service": "a", "state": "handled", "children": [inner]}
        outer = {
            "kind": "event",
            "id": "o",
            "type": "O",
            "topic": "t",
            "key": "k",
            "service": "x",
            "children": [handler],
        }
        lines = [plain(line) for line in render.trace_lines({"roots": [outer, leaf]})]
        assert [re.match(r"[ │├└─]*", line)[0] for line in lines] == ["", "└─ ", "   └─ ", "      └─ ", ""]
        assert lines[3].endswith("audit waiting")

    @pytest.mark.parametrize(
        ("state", "code"), [("handled", "32"), ("retrying", "33"), ("waiting", "33"), ("dead", "31")]
    )
    def test_a_handler_has_the_colour_of_its_state(self, state, code):
        node = {"kind": "handler", "service": "a", "state": state}
        assert f"\x1b[{code}m{state}" in next(iter(render.trace_lines({"roots": [node]})))
