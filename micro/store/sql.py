"""What both dialects read in a statement: its parameters, its literal question marks, where it ends.

The lexical rules are those that SQLite and PostgreSQL share, and PostgreSQL's where SQLite has no such token
(https://www.postgresql.org/docs/current/sql-syntax-lexical.html): ``'…'`` and ``"…"`` with doubled quotes, ``E'…'``
with backslashes, ``$tag$…$tag$``, ``-- …`` and nested ``/* … */``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from micro.errors import ConstraintViolation, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
      (?P<comment>   --[^\n]*+ | /\* )
    | (?P<quoted>    (?<![\w$])[eE]'(?:[^'\\]++|\\.|'')*+(?:'|\Z)
                   | '(?:[^']++|'')*+(?:'|\Z)
                   | "(?:[^"]++|"")*+(?:"|\Z)
                   | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*+)?)\$.*?\$(?P=tag)\$ )
    | (?P<literal>   \?\? )
    | (?P<numbered>  \?\d )
    | (?P<parameter> \? )
    | (?P<end>       ; )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_WORD = re.compile(r"[^\W\d]\w*")

_SESSION_KEYWORDS = frozenset(
    [
        "ABORT",
        "ATTACH",
        "BEGIN",
        "COMMIT",
        "DETACH",
        "END",
        "PRAGMA",
        "PREPARE",
        "RELEASE",
        "ROLLBACK",
        "SAVEPOINT",
        "START",
    ]
)
_READING_KEYWORDS = frozenset(["EXPLAIN", "SELECT", "SHOW", "TABLE", "VALUES", "WITH"])

_PLAIN_TYPES = (str, int, float, bytes)
_INTEGER_END = 1 << 63


class Statement(Struct, frozen=True):
    """One statement, cut at its parameters."""

    pieces: tuple[str, ...]
    """The text before, between and after the parameters; ``??`` has become ``?``."""
    keyword: str
    """The first word, in upper case; empty where there is none."""
    has_literal: bool
    """Whether there is a ``??``."""

    @property
    def reads_only(self) -> bool:
        """Whether the first word is one that queries begin with. A ``WITH`` may still go on to write."""
        return self.keyword in _READING_KEYWORDS


@lru_cache(maxsize=1024)
def parse(sql: str) -> Statement:
    """Read one statement. Remembered per text, so that a statement in use costs one lookup.

    Raises `StoreError` for numbered parameters and for statements that act on the transaction or the session
    (``COMMIT``, ``PRAGMA`` …): the store itself says when a transaction begins and ends.
    """
    pieces, keyword, has_literal = [""], "", False
    for kind, text in _tokens(sql):
        if kind == "parameter":
            pieces.append("")
        elif kind == "numbered":
            raise StoreError(f"numbered parameters aren't portable: write a plain ? in {_shortened(sql)}")
        else:
            pieces[-1] += "?" if kind == "literal" else text
            has_literal = has_literal or kind == "literal"
        if kind == "code" and not keyword and (word := _WORD.search(text)):
            keyword = word[0].upper()
    if keyword in _SESSION_KEYWORDS:
        raise StoreError(f"{keyword} is the store's business: a transaction's block begins and ends it")
    return Statement(tuple(pieces), keyword, has_literal)


def split(sql: str) -> list[str]:
    """The statements of a script, each with its semicolon; pieces without any code are dropped.

    A semicolon inside the body of a trigger (``BEGIN … END``) splits too: only a dialect knows where such a body ends.
    """
    statements, text, has_code = [], "", False
    for kind, token in [*_tokens(sql), ("end", "")]:
        text += token
        has_code = has_code or kind in {"quoted", "parameter"} or (kind == "code" and bool(token.strip()))
        if kind == "end":
            if has_code:
                statements.append(text.strip())
            text, has_code = "", False
    return statements


def check_parameters(statement: Statement, parameters: tuple[object, ...]) -> None:
    """Refuse what one of the dialects would refuse or change.

    `StoreError` for a wrong number and for a type that isn't `str`, `int`, `float`, `bytes` or `None` (a `bool` among
    them: PostgreSQL takes none for a BIGINT). `ConstraintViolation` for values that no column keeps as they are: NUL in
    text (PostgreSQL has none), NaN (SQLite makes it NULL), and integers beyond 64 bits.
    """
    expected = len(statement.pieces) - 1
    if len(parameters) != expected:
        raise StoreError(
            f"{expected} parameters expected, {len(parameters)} given: {_shortened('?'.join(statement.pieces))}"
        )
    for value in parameters:
        if value is None:
            continue
        if not isinstance(value, _PLAIN_TYPES) or value is True or value is False:
            raise StoreError(f"a parameter is str, int, float, bytes or None, not {type(value).__name__}")
        if isinstance(value, str):
            if "\0" in value:
                raise ConstraintViolation("text with a NUL character can't be stored")
        elif isinstance(value, int):
            if not -_INTEGER_END <= value < _INTEGER_END:
                raise ConstraintViolation("an integer beyond 64 bits can't be stored")
        elif value != value:  # noqa: PLR0124 - only NaN differs from itself
            raise ConstraintViolation("NaN can't be stored")


def _tokens(sql: str) -> Iterator[tuple[str, str]]:
    """The whole text as (kind, text) pairs; `code` is what none of the patterns takes."""
    at = 0
    while match := _TOKEN.search(sql, at):
        start, end, kind = match.start(), match.end(), str(match.lastgroup)
        if start > at:
            yield "code", sql[at:start]
        if match[0] == "/*":
            end = _comment_end(sql, end)
        yield kind, sql[start:end]
        at = end
    if at < len(sql):
        yield "code", sql[at:]


def _comment_end(sql: str, at: int) -> int:
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, at):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


def _shortened(sql: str) -> str:
    return sql if len(sql) <= 80 else f"{sql[:79]}…"
