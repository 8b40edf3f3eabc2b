"""What the Kafka driver's errors mean here."""

from __future__ import annotations

import pytest
from aiokafka import errors

from micro.bus.kafka_errors import translate
from micro.errors import BusUnavailable, ConfigurationError, EventTooLarge


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (errors.KafkaConnectionError(), BusUnavailable, "no broker answers"),
        (errors.AuthenticationFailedError(), ConfigurationError, "refuse the user or the password"),
        (errors.TopicAuthorizationFailedError(), BusUnavailable, "lacks the right to the topic"),
        (errors.MessageSizeTooLargeError(), EventTooLarge, "larger than the topic takes"),
        (errors.InvalidReplicationFactorError(), ConfigurationError, "fewer brokers than replicas"),
        (errors.UnknownError("what"), BusUnavailable, "broker:9092: [Error -1] UnknownError: what"),
        (TimeoutError(), BusUnavailable, "did not answer in time"),
        (RuntimeError("unable to perform operation"), BusUnavailable, "the connection broke: unable"),
        (ConnectionResetError("reset"), BusUnavailable, "no broker answers: reset"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), BusUnavailable, "a header is not UTF-8"),
    ],
)
def test_each_has_a_meaning_and_names_the_brokers(error, kind, sentence):
    ours = translate(error, "broker:9092")
    assert type(ours) is kind
    assert str(ours).startswith("kafka broker:9092: ")
    assert sentence in str(ours)


def test_what_the_driver_says_besides_is_told_without_its_own_words():
    """Nobody needs its way to write an address down."""
    refused = errors.KafkaConnectionError(
        "Unable to bootstrap from [('b', 9092, <AddressFamily.AF_INET: 2>)]"
    )
    assert str(translate(refused, "b:9092")) == "kafka b:9092: no broker answers"
    reset = ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)")
    assert str(translate(reset, "b:9092")) == "kafka b:9092: no broker answers: Connection refused"
