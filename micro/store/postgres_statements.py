"""One statement: what PostgreSQL is given for it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from micro.errors import StoreError
from micro.store.sql import check_parameters, parse, split

if TYPE_CHECKING:
    from micro.store.ports import Value
    from micro.store.sql import Statement

Bound: TypeAlias = "tuple[str, tuple[Value, ...]]"
"""A statement's text with `$1`, `$2` … for the parameters, and its values."""


def bind(sql: str, parameters: tuple[Value, ...]) -> Bound:
    """The text and values that PostgreSQL is given. Raises as `micro.store.sql` does."""
    statement, text = _prepared(sql)
    check_parameters(statement, parameters)
    return text, parameters


def script(sql: str) -> str:
    """Several statements as one text. Raises `StoreError` for parameters and for what is the store's business."""
    texts = []
    for piece in split(sql):
        statement, text = _prepared(piece)
        if len(statement.pieces) > 1:
            raise StoreError("a script has no parameters")
        texts.append(text)
    return "\n".join(texts)


@lru_cache(maxsize=1024)
def _prepared(sql: str) -> tuple[Statement, str]:
    statement = parse(sql)
    first, *rest = statement.pieces
    return statement, first + "".join(f"${number}{piece}" for number, piece in enumerate(rest, 1))
