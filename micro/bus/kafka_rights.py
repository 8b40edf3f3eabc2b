"""What the user may do with topics, asked before anything is done there.

KIP-430 has brokers say it in version 8 of the Metadata request (https://kafka.apache.org/protocol.html#The_Messages_Metadata),
which the driver doesn't have.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.errors import (
    LeaderNotAvailableError,
    NoError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_BITS = {"read": 1 << 3, "write": 1 << 4}
"""By the numbers of Kafka's `AclOperation`."""
_NOT_SAID = -(1 << 31)


class Standing(NamedTuple):
    """Where the user stands with the topics that were asked for."""

    missing: list[str]
    """Those that are not there."""
    lacks: dict[str, list[str]]
    """What the user may not do though it is needed, and with which; nothing where the brokers don't say."""


async def standing(admin: Any, needs: Mapping[str, Collection[str]]) -> Standing:
    """Ask about topics, for each of which `needs` says what is to be done there: `read`, `write`. Makes none.

    Raises what the driver does.
    """
    found = Standing([], {})
    if not needs:  # no names would stand for all that there are
        return found
    answer = await admin._send_request(_Question(sorted(needs)))  # noqa: SLF001 # the public ones ask nothing of this
    for code, name, _, _, *rights in sorted(answer.topics, key=itemgetter(1)):
        kind = for_code(code)
        if kind is UnknownTopicOrPartitionError:
            found.missing.append(name)
        elif kind not in {NoError, LeaderNotAvailableError, TopicAuthorizationFailedError}:
            raise kind(name)
        # Of what may not even be seen, nothing may be done, and whether it is there is not said.
        allowed = 0 if kind is TopicAuthorizationFailedError else rights[0] if rights else _NOT_SAID
        if refused := _refused(needs[name], allowed):
            found.lacks.setdefault(refused, []).append(name)
    return found


def _refused(needed: Collection[str], allowed: int) -> str:
    """Those of `needed` for which a bit is missing, in words."""
    if allowed == _NOT_SAID:
        return ""
    return " or ".join(right for right, bit in _BITS.items() if right in needed and not allowed & bit)


class _Answer8(Response):  # type: ignore[misc] # the driver has no types
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _Question8(RequestStruct):  # type: ignore[misc] # as above
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _Answer8
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _Question(Request[MetadataRequest_v5 | _Question8]):  # type: ignore[misc] # as above
    """Version 8, or the driver's newest where brokers don't have it: their answer says what is there, and no rights."""

    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: Any) -> Any:
        rights = (False, True) if request_struct_class is _Question8 else ()
        return request_struct_class(self._topics, False, *rights)
