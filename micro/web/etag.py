"""Entity tags and `If-Match`: https://www.rfc-editor.org/rfc/rfc9110#name-if-match."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from micro.web.problems import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

# entity-tag and the commas of a list, RFC 9110 sections 5.6.1 and 8.8.3; empty list elements are allowed.
_TAG = re.compile(r'[ \t]*(?:((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*)?(?:,|\Z)')


def etag_of(version: int) -> str:
    """A strong entity tag for a version of a resource: ``"3"``, quotes included."""
    return f'"{version}"'


def check_if_match(request: Request, etag: str) -> None:
    """Raise a 412 `Problem` unless `request` has no ``If-Match``, or one that `etag` (strong) satisfies.

    ``*`` is satisfied by any existing resource, which the caller has found. The comparison is strong, so a weak tag
    never matches; nor does a malformed field.
    """
    fields = request.headers.getlist("if-match")
    if not fields:
        return
    condition = ",".join(fields)
    if condition.strip(" \t") != "*" and etag not in _tags(condition):
        raise Problem(
            412,
            detail="This was changed since you read it: get it again, then repeat the change with its ETag.",
            headers={"ETag": etag},
        )


def _tags(condition: str) -> list[str]:
    tags: list[str] = []
    position = 0
    while position < len(condition):
        match = _TAG.match(condition, position)
        if match is None:
            return []
        if match[1]:
            tags.append(match[1])
        position = match.end()
    return tags
