"""Query parameters."""

from __future__ import annotations

import contextlib
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.web.pagination import Page
from micro.web.problems import Problem
from micro.web.query import MAX_PARAMETERS, Query


class Filter(Page, frozen=True, kw_only=True):
    """A list's filters."""

    status: Literal["open", "done"] | None = None
    text: str = ""


FILTER = Query(Filter)


def faults(raw: bytes):
    with pytest.raises(Problem) as caught:
        FILTER.read(raw)
    assert caught.value.status == 422
    return {fault["pointer"]: fault["detail"] for fault in caught.value.errors}


def test_no_query_gives_the_defaults():
    """50 items, no cursor, no filter."""
    assert FILTER.read(b"") == Filter()


def test_values_are_decoded_and_converted():
    """Percent-encoding, plus for a space, digits to a number."""
    assert FILTER.read(b"limit=7&status=open&text=a+b%C3%BC") == Filter(limit=7, status="open", text="a bü")


def test_unknown_parameters_are_ignored():
    """A tracking parameter breaks nothing."""
    assert FILTER.read(b"utm_source=x&limit=3").limit == 3


@pytest.mark.parametrize(
    "value", ["0", "201", "-1", "x", "", "1e3", "007", "%20 7", "\u0667", "9" * 5_000, "null"]
)
def test_a_limit_out_of_range_is_422(value):
    """1 to 200, in plain digits."""
    assert set(faults(f"limit={value}".encode())) == {"/limit"}


@pytest.mark.parametrize("value", [b"1", b"200"])
def test_the_ends_of_the_range_are_allowed(value):
    """1 and 200."""
    assert FILTER.read(b"limit=" + value).limit == int(value)


def test_all_faults_are_told_at_once():
    """Not only the first."""
    assert set(faults(b"limit=0&status=lost")) == {"/limit", "/status"}


def test_a_repeated_parameter_is_422():
    """Which of the two counts would differ from one reader to the next."""
    assert faults(b"limit=1&limit=2") == {"/limit": "This is given more than once."}


@pytest.mark.parametrize("raw", [b"text=%00", b"text=a%00b"])
def test_nul_is_422(raw):
    """No store could keep it."""
    assert set(faults(raw)) == {"/text"}


@pytest.mark.parametrize("raw", [b"text=%FF", b"text=%ED%A0%80", b"%FF=1"])
def test_what_is_not_utf8_is_422(raw):
    """Lone surrogates in disguise included."""
    assert set(faults(raw)) == {""}


def test_too_many_parameters_are_422():
    """Before anything is made of them."""
    raw = b"&".join(b"p%d=1" % number for number in range(MAX_PARAMETERS + 1))
    assert set(faults(raw)) == {""}


def test_a_long_cursor_is_422():
    """It can't be one of ours."""
    assert set(faults(b"cursor=" + b"a" * 2_000)) == {"/cursor"}


@given(st.binary(max_size=80))
def test_no_query_makes_anything_but_values_or_a_problem(raw):
    """Never another exception."""
    with contextlib.suppress(Problem):
        FILTER.read(raw)
