"""Statements with as many parameters as there are values."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1024)
def expand(sql: str, count: int) -> str:
    """`sql` with what stands before its ``…`` repeated: ``(?…)`` is a list of values, ``(?, ?)…`` a list of rows."""
    head, tail = sql.split("…")
    item = head[head.rindex("(") :] if head.endswith(")") else "?"
    return head + f", {item}" * (count - 1) + tail
