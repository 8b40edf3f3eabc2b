"""Events as authors declare them."""

from __future__ import annotations

import dataclasses

import pytest

from micro.bus.message import Event, Message, Partition, Record


class OrderPlaced(Event, topic="order.events", version=2):
    """An event for these tests."""

    order_id: str
    total: int


def test_an_event_knows_its_topic_and_version():
    """Both come from the class statement."""
    assert (OrderPlaced.topic, OrderPlaced.version) == ("order.events", 2)


def test_an_event_is_frozen_and_keyword_only():
    """A fact does not change, and its fields are named where it is made."""
    event = OrderPlaced(order_id="1", total=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.total = 4
    with pytest.raises(TypeError):
        OrderPlaced("1", 3)


def test_events_with_the_same_fields_are_equal():
    """They are values."""
    assert OrderPlaced(order_id="1", total=3) == OrderPlaced(order_id="1", total=3)


def test_an_event_without_a_topic_is_refused_where_it_is_declared():
    """The message shows what to write."""
    with pytest.raises(TypeError, match=r'class Lost\(Event, topic="…"\)'):

        class Lost(Event):
            pass


def test_a_subclass_inherits_the_topic():
    """A family of events may share one."""

    class OrderCancelled(OrderPlaced, version=3):
        reason: str

    made = OrderCancelled(order_id="1", total=0, reason="changed my mind")
    assert (made.topic, made.version, made.reason) == ("order.events", 3, "changed my mind")


def test_a_record_does_not_print_its_payload():
    """Payloads hold people's data and do not belong into logs."""
    record = Record(Partition("t", 0), 7, Message("t", "k", b"secret"), 0.0)
    assert "secret" not in repr(record)
