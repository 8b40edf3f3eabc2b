"""Spans, moments and filters as people type them."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.bus.message import CloudEvent
from micro.errors import UsageError
from micro.runtime.operations.filters import EventQuery, parse_moment, parse_span, taking
from micro.testing import FakeClock

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("90s", 90), ("15m", 900), ("1.5h", 5400), (" 7d ", 604800), ("1w", 604800), ("0s", 0)],
)
def test_a_span_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1 h", "1y", "1e3s"])
def test_anything_else_is_no_span(text: str) -> None:
    with pytest.raises(UsageError, match="90s"):
        parse_span(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1h", NOW - 3600),
        ("99999999w", NOW - 99999999 * 604800),
        ("2026-01-01T00:00:00Z", NOW),
        ("2026-01-01T01:00:00+01:00", NOW),
        ("2026-01-01", NOW),
    ],
)
def test_a_moment_is_a_span_back_from_now_or_a_time_with_its_zone(text: str, moment: float) -> None:
    assert parse_moment(text, FakeClock()) == moment


@pytest.mark.parametrize(("text", "says"), [("yesterday", "no time"), ("2026-01-01T12:00:00", "time zone")])
def test_what_is_no_moment_is_refused_with_an_example(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_moment(text, FakeClock())


@given(st.text())
def test_any_text_is_a_moment_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(parse_moment(text, FakeClock()), float)


EVENT = CloudEvent(
    id="e1",
    source="task",
    type="TaskCreatedEvent",
    topic="task.events",
    key="t1",
    time="2026-01-01T00:00:00.000Z",
    version=1,
    data={},
    traceparent="",
    correlation_id="c1",
    causation_id="r1",
)


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        ({}, True),
        ({"type": "TaskCreatedEvent", "key": "t1", "correlation": "c1"}, True),
        ({"type": "TaskDeletedEvent"}, False),
        ({"key": "t2"}, False),
        ({"correlation": "c2"}, False),
    ],
)
def test_a_query_takes_what_matches_all_that_it_says(wanted: dict[str, str], takes: bool) -> None:
    assert EventQuery(**wanted).takes(EVENT) is takes


@pytest.mark.parametrize(("wanted", "takes"), [({"topic": "task.events"}, True), ({"key": "t1"}, False)])
def test_what_is_no_event_matches_by_its_topic_only(wanted: dict[str, str], takes: bool) -> None:
    assert EventQuery(**wanted).takes(None) is takes


def test_a_query_reads_its_topic_or_all() -> None:
    assert EventQuery(topic="task.events").topics == ("task.events",)
    assert EventQuery().topics == ()


@pytest.mark.parametrize("wrong", [{"limit": -1}, {"limit": "many"}, {"colour": "red"}, {"type": 7}])
def test_wrong_arguments_of_a_verb_are_a_usage_error(wrong: dict[str, object]) -> None:
    verb = taking(EventQuery, lambda query: query)
    with pytest.raises(UsageError, match=next(iter(wrong))):
        verb(**wrong)
    assert verb(limit=3).limit == 3
