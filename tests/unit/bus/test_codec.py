"""Events as bytes and back."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.bus.codec import CONTENT_TYPE, decode, encode, to_json
from micro.bus.message import CloudEvent, Message, Partition, Record
from micro.errors import DecodeError

FIELDS = {
    "id": "01a20399-0d81-75d0-a274-1303a5d0be91",
    "source": "shop",
    "type": "OrderPlaced",
    "topic": "order.events",
    "key": "order 7",
    "time": "2026-01-01T00:00:00.000Z",
    "version": 3,
    "data": {"total": 12},
    "traceparent": "00-0fab233f0e9cf1b855befba6cf5750ba-4376c6c9f3793301-00",
    "correlation_id": "c1",
    "causation_id": "r1",
}
EVENT = CloudEvent(**FIELDS)

text = st.text(st.characters(exclude_categories=["Cs"]))
name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=10,
)


def message(**changes):
    body = {"specversion": "1.0", "id": "1", "source": "elsewhere", "type": "Thing"} | changes
    return Message("topic", "key", json.dumps(body).encode())


@given(
    st.builds(
        CloudEvent,
        id=name,
        source=name,
        type=name,
        topic=name,
        key=name,
        time=text,
        version=st.integers(0, 999_999_999),
        data=st.dictionaries(text, json_values),
        traceparent=text,
        correlation_id=name,
        causation_id=name,
    )
)
def test_decoding_what_was_encoded_gives_the_same_event(event):
    assert decode(encode(event)) == event


@given(st.binary() | st.builds(lambda value: json.dumps(value).encode(), json_values))
def test_any_bytes_are_an_event_or_a_decode_error_and_can_be_printed(value):
    record = Record(Partition("t", 0), 0, Message("t", "k", value), 0.0)
    with suppress(DecodeError):
        assert isinstance(decode(record), CloudEvent)
    json.dumps(to_json(record))


def test_the_body_is_a_cloudevent_with_every_attribute():
    assert json.loads(encode(EVENT).value) == {
        "specversion": "1.0",
        "id": FIELDS["id"],
        "source": "shop",
        "type": "OrderPlaced",
        "subject": "order 7",
        "time": "2026-01-01T00:00:00.000Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:micro:event:OrderPlaced:3",
        "traceparent": FIELDS["traceparent"],
        "correlationid": "c1",
        "causationid": "r1",
        "data": {"total": 12},
    }


def test_the_key_is_the_subject_and_the_ids_are_headers_too():
    sent = encode(EVENT)
    assert sent.topic == "order.events"
    assert sent.key == "order 7"
    assert dict(sent.headers) == {
        "content-type": CONTENT_TYPE,
        "ce_id": FIELDS["id"].encode(),
        "ce_correlationid": b"c1",
        "ce_causationid": b"r1",
        "ce_traceparent": FIELDS["traceparent"].encode(),
    }


def test_an_event_of_another_producer_needs_only_what_cloudevents_requires():
    event = decode(message(dataschema="https://example.com/thing", anything="else"))
    assert (event.key, event.version, event.data) == ("key", 1, {})
    assert (event.correlation_id, event.causation_id) == ("1", "1")
    assert (event.time, event.traceparent) == ("", "")


@pytest.mark.parametrize(
    "schema",
    [
        None,
        "urn:micro:event:Thing:",
        "urn:micro:event:Thing:x",
        "urn:micro:event:Thing:²",
        "urn:micro:event:T:" + "9" * 5000,
    ],
    ids=["none", "empty", "letters", "not-ascii", "endless"],
)
def test_a_schema_without_a_version_means_version_one(schema):
    assert decode(message(dataschema=schema)).version == 1


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        message(specversion="0.3").value,
        message(id="").value,
        message(id=None).value,
        message(id="x" * 256).value,
        message(id="a\0b").value,
        message(type="").value,
        message(type="a\0b").value,
        message(source="").value,
        message(data=[1]).value,
        message(data="text").value,
        message(subject=7).value,
        b'{"specversion":"1.0","id":"1","source":"s","type":"\\ud800"}',
    ],
)
def test_what_is_no_event_is_a_decode_error_that_names_the_topic(value):
    with pytest.raises(DecodeError, match=r"^topic: ") as caught:
        decode(Message("topic", "key", value))
    assert caught.value.__cause__ is not None


def test_text_that_utf8_cannot_carry_is_a_value_error():
    with pytest.raises(ValueError, match="surrogates"):
        encode(CloudEvent(**FIELDS | {"data": {"name": "\ud800"}}))


def test_a_record_prints_with_its_place_and_the_event_as_it_is_on_the_wire():
    record = Record(Partition("order.events", 3), 17, encode(EVENT), 0.0)
    printed = to_json(record)
    assert printed == {
        "topic": "order.events",
        "partition": 3,
        "offset": 17,
        "event": json.loads(record.message.value),
    }


def test_bytes_that_are_no_json_print_in_base64():
    printed = to_json(Record(Partition("t", 0), 1, Message("t", "k", b"\xff\x00"), 0.0))
    assert printed["event"] is None
    assert base64.b64decode(printed["raw"]) == b"\xff\x00"
