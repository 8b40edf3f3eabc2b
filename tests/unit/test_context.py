"""What caused the work in hand can be kept in a column and taken up again."""

from __future__ import annotations

import pytest

from micro import restore_context, save_context
from micro.bus.origin import Origin
from micro.context import Context, current
from micro.testing import FakeClock

TRACE = "0af7651916cd43dd8448eb211c80319c"
CONTEXT = Context("correlation 1", "cause-1", f"00-{TRACE}-b7ad6b7169203331-01", "request-1")


@pytest.fixture
def saved():
    mark = current.set(CONTEXT)
    yield save_context()
    current.reset(mark)


@pytest.fixture
def emitted():
    """An event, emitted now."""
    origin = Origin("shop", FakeClock())
    return lambda: origin.event("order.events", "OrderPlaced", {}, key="k")


def test_where_nothing_caused_it_there_is_nothing_to_save():
    assert current.get() is None
    assert save_context() == ""


def test_an_event_emitted_later_has_the_cause_that_was_saved(saved, emitted):
    mark = current.set(None)
    with restore_context(saved):
        event = emitted()
    assert current.get() is None
    current.reset(mark)
    assert (event.correlation_id, event.causation_id) == ("correlation 1", "cause-1")
    assert event.traceparent.startswith(f"00-{TRACE}-")
    assert event.traceparent.endswith("-01")
    assert event.traceparent != CONTEXT.traceparent, "a child of its own"


def test_the_request_is_over_and_is_not_restored(saved):
    with restore_context(saved):
        assert current.get().request_id is None
        assert save_context() == saved


@pytest.mark.parametrize(
    "text",
    ["", "{", "7", "null", "[]", '["a", "b"]', '["a", "b", ""]', '["a", "b", 7]', '{"a": 1, "b": 2, "c": 3}'],
)
def test_a_text_that_is_none_of_its_own_means_no_context(text, saved, emitted):
    with restore_context(text):
        assert save_context() == ""
        event = emitted()
        assert event.causation_id == event.correlation_id == event.id
    assert save_context() == saved


def test_the_context_from_before_comes_back_after_a_failure_too(saved):
    with pytest.raises(ZeroDivisionError), restore_context(""):
        raise ZeroDivisionError
    assert current.get() == CONTEXT
