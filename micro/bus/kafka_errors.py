"""What aiokafka's errors mean here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import errors

from micro.backend import said
from micro.errors import BusUnavailable, ConfigurationError, EventTooLarge

if TYPE_CHECKING:
    from micro.errors import MicroError

DRIVER_ERRORS = (errors.KafkaError, OSError, RuntimeError, UnicodeDecodeError)
"""Everything that the driver raises, `TimeoutError` (an `OSError`) among it. `RuntimeError` is uvloop's for a write on a
connection that was just closed, `UnicodeDecodeError` from its way of reading records, where that isn't `kafka_unpacking`'s."""

_TABLE: tuple[tuple[type[Exception], type[MicroError], str], ...] = (
    (errors.MessageSizeTooLargeError, EventTooLarge, "the record is larger than the topic takes"),
    (errors.AuthenticationFailedError, ConfigurationError, "the brokers refuse the user or the password"),
    (errors.SaslAuthenticationFailed, ConfigurationError, "the brokers refuse the user or the password"),
    (errors.TopicAuthorizationFailedError, BusUnavailable, "the user lacks the right to the topic"),
    (errors.GroupAuthorizationFailedError, BusUnavailable, "the user lacks the right to the group"),
    (
        errors.ClusterAuthorizationFailedError,
        BusUnavailable,
        "the user may not make topics, nor write to any",
    ),
    (
        errors.UnsupportedVersionError,
        ConfigurationError,
        "the brokers are too old; Kafka 2.4 or newer is needed",
    ),
    (
        errors.IncompatibleBrokerVersion,
        ConfigurationError,
        "the brokers are too old; Kafka 2.4 or newer is needed",
    ),
    (errors.NotEnoughReplicasError, BusUnavailable, "too few brokers have a copy now"),
    (
        errors.InvalidReplicationFactorError,
        ConfigurationError,
        "there are fewer brokers than replicas asked for",
    ),
    (errors.KafkaConnectionError, BusUnavailable, "no broker answers"),
    (errors.UnsupportedCodecError, BusUnavailable, "a record is compressed in a way that isn't known here"),
    (asyncio.TimeoutError, BusUnavailable, "the brokers did not answer in time"),
    (OSError, BusUnavailable, "no broker answers"),
    (errors.KafkaError, BusUnavailable, ""),
    (RuntimeError, BusUnavailable, "the connection broke"),
    (UnicodeDecodeError, BusUnavailable, "a record can't be read, the name of a header is not UTF-8"),
)


def translate(error: Exception, brokers: str) -> MicroError:
    """The error of ours that says what `error` (one of `DRIVER_ERRORS`) means."""
    kind, sentence = next((kind, sentence) for type_, kind, sentence in _TABLE if isinstance(error, type_))
    detail = (
        "" if isinstance(error, errors.KafkaConnectionError) else said(error)
    )  # that is the addresses once more
    return kind(": ".join(filter(None, (f"kafka {brokers}", sentence, detail))))
