"""The kinds of values that `micro.toml` holds. What each must look like, beyond its type, says `micro.spec.formats`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

DERIVED: Mapping[str, Any] = {"toml": False}
"""Marks a field that no key of the file sets."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`limit` requests in any `period` seconds."""

    limit: int
    period: float


Seconds: TypeAlias = Annotated[float, "duration"]
Bytes: TypeAlias = Annotated[int, "size"]
Port: TypeAlias = Annotated[int, "port"]
StackName: TypeAlias = Annotated[str, "stack name"]
ServiceName: TypeAlias = Annotated[str, "service name"]
RoutePath: TypeAlias = Annotated[str, "route path"]
TargetPath: TypeAlias = Annotated[str, "target path"]
HealthPath: TypeAlias = Annotated[str, "path"]
ImportString: TypeAlias = Annotated[str, "import string"]
HttpUrl: TypeAlias = Annotated[str, "http url"]
HttpUrls: TypeAlias = Annotated[tuple[HttpUrl, ...], "one or more"]
"""A single one may be written without the brackets of an array."""
BackendUrl: TypeAlias = Annotated[str, "backend url"]
Method: TypeAlias = Annotated[str, "method"]
Network: TypeAlias = Annotated[str, "network"]
HostName: TypeAlias = Annotated[str, "host"]
HostPattern: TypeAlias = Annotated[str, "host pattern"]
FieldName: TypeAlias = Annotated[str, "field name"]
FieldValue: TypeAlias = Annotated[str, "field value"]
HashKey: TypeAlias = Annotated[str, "hash key"]
Digest: TypeAlias = Annotated[str, "digest"]
EnvName: TypeAlias = Annotated[str, "environment name"]
EnvValue: TypeAlias = Annotated[str, "environment value"]
Text: TypeAlias = Annotated[str, "text"]
Origin: TypeAlias = Annotated[str, "origin"]
WholeNumber: TypeAlias = Annotated[int, "whole number"]
Count: TypeAlias = Annotated[int, "count"]
"""From 1 on."""
Failure: TypeAlias = Annotated[int, "failure"]
"""A status from 400 to 599."""
Percent: TypeAlias = Annotated[int, "percent"]
Limit: TypeAlias = Annotated[Rate, "rate"]
LimitOrOff: TypeAlias = Annotated[Rate | None, "rate or off"]

AuthRule: TypeAlias = Literal["none", "optional", "required"]
Credential: TypeAlias = Literal["token", "api_key"]
