"""Durations, sizes and rates, read and written."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.spec.terms import Rate
from micro.spec.units import format_duration, format_rate, format_size, parse_duration, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("15s", 15),
        ("15 s", 15),
        ("2m", 120),
        ("1.5h", 5400),
        ("7d", 604_800),
        ("0.25s", 0.25),
    ],
)
def test_a_duration_is_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "15", "s", "-1s", "1 week", "1e3s", "15s ", "15 s s", "\uff11s", "1" * 13 + "s"]
)
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match='is not a duration like "15s"'):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "0ms", "0.0m"])
def test_no_time_at_all_is_no_duration(text):
    with pytest.raises(ValueError, match="longer than zero"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512B", 512),
        ("1kB", 1000),
        ("1KB", 1000),
        ("10MB", 10_000_000),
        ("1MiB", 1 << 20),
        ("1.5 KiB", 1536),
        ("0B", 0),
    ],
)
def test_a_size_is_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1", "MB", "-1MB", "1 megabyte", "1mb"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match='is not a size like "1MiB"'):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/minute", Rate(100, 60)),
        ("5/second", Rate(5, 1)),
        ("1000 / hour", Rate(1000, 3600)),
        ("1/day", Rate(1, 86_400)),
        ("20/10 seconds", Rate(20, 10)),
    ],
)
def test_a_rate_is_read(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "100", "100/", "/minute", "100/fortnight", "1.5/second", "-1/second", "off"]
)
def test_what_is_no_rate_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match='is not a rate like "100/minute"'):
        parse_rate(text)


@pytest.mark.parametrize("text", ["0/minute", "5/0 seconds"])
def test_a_rate_that_allows_nothing_is_refused(text):
    with pytest.raises(ValueError, match="at least one"):
        parse_rate(text)


@given(st.integers(1, 10**9).map(lambda milliseconds: milliseconds / 1000))
def test_a_duration_survives_being_written_and_read(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-9)


@given(st.floats(1e-6, 1e6))
def test_any_duration_is_written_so_that_it_reads_nearly_the_same(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9, rel=1e-9)


@given(st.integers(0, 10**12))
def test_a_size_survives_being_written_and_read(size):
    assert parse_size(format_size(size)) == size


@given(st.integers(1, 10**6), st.integers(1, 10**5))
def test_a_rate_survives_being_written_and_read(limit, period):
    rate = Rate(limit, float(period))
    assert parse_rate(format_rate(rate)) == rate


@given(st.text(max_size=30))
def test_any_text_is_a_quantity_or_a_value_error(text):
    for parse in (parse_duration, parse_size, parse_rate):
        with suppress(ValueError):
            assert parse(text) is not None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "500ms"),
        (15, "15s"),
        (120, "2m"),
        (3600, "1h"),
        (90, "90s"),
        (0.0005, "0.0005s"),
        (5 + 1e-12, "5s"),
    ],
)
def test_a_duration_is_written_in_the_largest_unit_that_fits(seconds, text):
    assert format_duration(seconds) == text


def test_a_rate_over_part_of_a_second_is_written_all_the_same():
    assert format_rate(Rate(5, 0.5)) == "5/0.5s"
