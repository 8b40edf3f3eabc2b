"""A record on its way, and what went wrong with it."""

from __future__ import annotations

from micro.bus.codec import encode
from micro.bus.delivery import Delivery, Failure, Place, dead_letter, storable
from micro.bus.message import Message, Partition, Record
from micro.bus.origin import Origin
from micro.errors import DecodeError


def record(message, offset=7):
    return Record(Partition(message.topic, 2), offset, message, 0.0)


def event(clock, key="order 1"):
    return Origin("shop", clock).event("order.events", "OrderPlaced", {"n": 1}, key=key)


def test_an_event_is_known_by_its_id_and_ordered_by_its_key(clock):
    sent = event(clock)
    delivery = Delivery.of(record(encode(sent)))
    assert (delivery.event, delivery.id, delivery.type) == (sent, sent.id, "OrderPlaced")
    assert delivery.place == Place("order.events", "order 1")


def test_bytes_that_are_no_event_are_known_by_their_place_in_the_log():
    delivery = Delivery.of(record(Message("t", "k", b"?")))
    assert isinstance(delivery.content, DecodeError)
    assert (delivery.event, delivery.id, delivery.type) == (None, "t:2:7", None)
    assert delivery.place == Place("t", "k")


def test_without_a_key_the_subject_orders_and_without_any_each_stands_alone(clock):
    body = encode(event(clock)).value
    assert Delivery.of(record(Message("t", "", body))).place == Place("t", "order 1")
    assert Delivery.of(record(Message("t", "", b"?"))).place == Place("t", "t:2:7")


def test_a_key_that_no_index_takes_is_cut_and_cleaned():
    place = Delivery.of(record(Message("t", "a\0b" + "x" * 1000, b"?"))).place
    assert place.key.startswith("a\ufffdb")
    assert len(place.key) == 255


def test_a_failure_is_bounded_and_keeps_the_innermost_frames():
    def deep(n):
        if n:
            deep(n - 1)
        else:
            raise ValueError("x\0" + "y" * 5000 + "\ud800")

    try:
        deep(200)
    except ValueError as error:
        failure = Failure.of(error)
    assert failure.type == "ValueError"
    assert len(failure.message) == 1024
    assert "\0" not in failure.message + failure.stack
    assert len(failure.stack.encode()) <= 8192
    assert "ValueError: x" in Failure.of(ValueError("x")).stack
    assert "y" * 100 in failure.stack


def test_text_becomes_what_any_database_takes():
    assert storable("a\0b\ud800c é") == "a\ufffdb?c é"


def test_a_copy_of_a_dead_letter_keeps_the_event_and_adds_its_reason_and_origin(clock):
    sent = encode(event(clock))
    copy = dead_letter(
        Delivery.of(record(sent)), Failure("ValueError", "why", "where"), subscriber="crm", attempts=8
    )
    assert (copy.topic, copy.key, copy.value) == ("order.events.dlq", sent.key, sent.value)
    assert copy.headers[: len(sent.headers)] == sent.headers
    assert dict(copy.headers[len(sent.headers) :]) == {
        "dlq_subscriber": b"crm",
        "dlq_exception_type": b"ValueError",
        "dlq_exception_message": b"why",
        "dlq_exception_stack": b"where",
        "dlq_attempts": b"8",
        "dlq_topic": b"order.events",
        "dlq_partition": b"2",
        "dlq_offset": b"7",
    }
