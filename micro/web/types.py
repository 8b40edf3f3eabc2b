"""Types of fields and parameters that every API has."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

Id: TypeAlias = Annotated[
    str,
    Meta(
        # The look-ahead keeps Python's `$` from taking a final newline; JSON Schema's `$` needs none.
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$(?!\n)",
        description="A UUID in lower case.",
        extra_json_schema={"format": "uuid"},
        examples=["019b7d3c-8a00-7c4e-9f3b-2d6a51c0e7f4"],
    ),
]
"""A UUID in canonical lower-case form. A malformed one is 404 in a path and 422 in a body or query."""

Timestamp: TypeAlias = Annotated[
    str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-01-01T00:00:00.000Z"])
]
"""RFC 3339 UTC with milliseconds, as `micro.clock.rfc3339` writes it."""
