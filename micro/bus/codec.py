"""Events as bytes: CloudEvents 1.0 in structured JSON.

The body follows the JSON event format (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md),
the headers the Kafka binding (…/bindings/kafka-protocol-binding.md, section 3.3): the content type says that the body
is the whole event, and the ids stand beside it as ``ce_…`` for those who route without reading bodies.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec

from micro.bus.message import CloudEvent, Message, Record
from micro.errors import DecodeError

CONTENT_TYPE = b"application/cloudevents+json; charset=UTF-8"

_VERSION = re.compile(r"urn:micro:event:.*:([0-9]{1,9})\Z", re.DOTALL)
_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"\A[^\0]+\Z")]
"""What becomes a database key: PostgreSQL's text holds no NUL, its indexes no long values."""


class _Wire(msgspec.Struct, omit_defaults=True):
    """The JSON object, member by member. What micro writes has them all; `data` may be missing elsewhere."""

    specversion: Literal["1.0"]
    id: _Name
    source: _Text
    type: _Name
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    traceparent: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    data: dict[str, Any] | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Wire)


def encode(event: CloudEvent) -> Message:
    """`event` as a message whose key is the event's. Raises `ValueError` for text that UTF-8 can't carry."""
    body = _Wire(
        specversion="1.0",
        id=event.id,
        source=event.source,
        type=event.type,
        subject=event.key,
        time=event.time,
        datacontenttype="application/json",
        dataschema=_schema(event.type, event.version),
        traceparent=event.traceparent,
        correlationid=event.correlation_id,
        causationid=event.causation_id,
        data=event.data,
    )
    headers = (
        ("content-type", CONTENT_TYPE),
        ("ce_id", event.id.encode()),
        ("ce_correlationid", event.correlation_id.encode()),
        ("ce_causationid", event.causation_id.encode()),
        ("ce_traceparent", event.traceparent.encode()),
    )
    return Message(event.topic, event.key, _encoder.encode(body), headers)


def decode(source: Record | Message) -> CloudEvent:
    """The event in a message. Raises `DecodeError` where the bytes are none, or their `data` is not a JSON object.

    Events of other producers may lack what CloudEvents leaves optional: the subject is then the message's key, the
    version 1, the event its own correlation and cause, and trace and time are empty.
    """
    message = source.message if isinstance(source, Record) else source
    try:
        wire = _decoder.decode(message.value)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise DecodeError(f"{message.topic}: not a CloudEvent in JSON: {error}") from error
    return CloudEvent(
        id=wire.id,
        source=wire.source,
        type=wire.type,
        topic=message.topic,
        key=wire.subject or message.key,
        time=wire.time or "",
        version=_version(wire.dataschema),
        data=wire.data or {},
        traceparent=wire.traceparent or "",
        correlation_id=wire.correlationid or wire.id,
        causation_id=wire.causationid or wire.id,
    )


def to_json(record: Record) -> dict[str, Any]:
    """A record for printing: ``{"topic", "partition", "offset", "event"}``, the event as it is on the wire.

    Bytes that are not JSON print as ``"event": null`` with ``"raw"``, base64.
    """
    place: dict[str, Any] = {
        "topic": record.partition.topic,
        "partition": record.partition.number,
        "offset": record.offset,
    }
    try:
        return {**place, "event": msgspec.json.decode(record.message.value)}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {**place, "event": None, "raw": msgspec.to_builtins(record.message.value)}


@lru_cache(maxsize=1024)
def _schema(type: str, version: int) -> str:
    return f"urn:micro:event:{quote(type, safe='')}:{version}"


def _version(schema: str | None) -> int:
    match = _VERSION.match(schema or "")
    return int(match[1]) if match else 1
