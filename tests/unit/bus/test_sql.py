"""Statements that grow with their values."""

from __future__ import annotations

import pytest

from micro.bus.sql import expand


@pytest.mark.parametrize(
    ("sql", "count", "expanded"),
    [
        ("in (?…)", 1, "in (?)"),
        ("in (?…) and b = ?", 3, "in (?, ?, ?) and b = ?"),
        ("f(x) values (?, ?)… on conflict", 2, "f(x) values (?, ?), (?, ?) on conflict"),
    ],
)
def test_what_stands_before_the_dots_is_repeated(sql, count, expanded):
    assert expand(sql, count) == expanded
