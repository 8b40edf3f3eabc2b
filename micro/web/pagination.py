"""Lists in pages: ``limit`` and an opaque ``cursor`` in, ``{"items": […], "next_cursor": …}`` out."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from micro.web.problems import invalid
from micro.web.text import is_clean

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Page(Struct, frozen=True, kw_only=True):
    """Query parameters of a list. Subclass it to add filters."""

    limit: Annotated[int, Meta(ge=1, le=200, description="How many items at most.")] = 50
    cursor: Annotated[str, Meta(max_length=1024, description="`next_cursor` of the page before.")] | None = (
        None
    )


class Items(Struct, Generic[T], frozen=True):
    """One page of a list. `next_cursor` is null on the last one."""

    items: list[T]
    next_cursor: str | None


def encode_cursor(*key: str) -> str:
    """The place after the row whose sort key is `key`, as opaque URL-safe text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def decode_cursor(cursor: str | None, *, parts: int = 1) -> tuple[str, ...] | None:
    """The sort key in `cursor`, or nothing without a cursor.

    Raises a 422 `Problem` for anything that `encode_cursor` did not make from `parts` strings.
    """
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = msgspec.json.decode(raw, type=list[str])
    except (binascii.Error, ValueError, RecursionError) as error:
        raise invalid("/cursor", "Not a cursor of this list.") from error
    if len(key) != parts or not all(map(is_clean, key)):
        raise invalid("/cursor", "Not a cursor of this list.")
    return tuple(key)


def page_of(rows: list[T], limit: int, key: Callable[[T], tuple[str, ...]]) -> Items[T]:
    """One page from up to ``limit + 1`` rows: the extra row only tells that there is more."""
    more = len(rows) > limit
    return Items(rows[:limit], encode_cursor(*key(rows[limit - 1])) if more else None)
