"""Identifiers: UUIDv7 and trace context."""

from __future__ import annotations

import uuid  # noqa: TID251 -- the standard library is the judge of our ids

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.clock import SystemClock, rfc3339, uniform
from micro.ids import child_traceparent, is_id, is_traceparent, new_id, new_traceparent
from micro.testing import FakeClock

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Zeros(FakeClock):
    """A clock whose chance always says zero."""

    def randbits(self, bits: int) -> int:
        return 0


def test_an_id_is_a_version_7_uuid_with_the_rfc_variant():
    """RFC 9562 section 5.7."""
    made = uuid.UUID(new_id(SystemClock()))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122


def test_an_id_begins_with_the_milliseconds_of_its_clock():
    """The first 48 bits are Unix milliseconds, so ids sort by time."""
    clock = FakeClock()
    expected = int(clock.now().timestamp() * 1000)
    assert int(new_id(clock).replace("-", "")[:12], 16) == expected


async def test_ids_of_later_milliseconds_sort_later():
    """Text order is time order."""
    clock = FakeClock()
    made = []
    for _ in range(5):
        made.append(new_id(clock))
        await clock.advance(0.001)
    assert made == sorted(made)


def test_ids_do_not_repeat():
    """Within one millisecond 74 random bits keep them apart."""
    clock = SystemClock()
    assert len({new_id(clock) for _ in range(1000)}) == 1000


def test_what_is_made_is_recognised():
    """`is_id` accepts every id of ours."""
    assert is_id(new_id(SystemClock()))


@pytest.mark.parametrize(
    "text",
    ["", "1", "018F4E2C-0000-7000-8000-000000000000", "018f4e2c00007000800000000000000", "018f4e2c-0000-7000-8000-00000000000g",
     "018f4e2c-0000-7000-8000-000000000000\n", " 018f4e2c-0000-7000-8000-000000000000"],
)  # fmt: skip
def test_anything_else_is_not_an_id(text):
    """Upper case, missing dashes, blanks and line ends are refused."""
    assert not is_id(text)


@given(st.text())
def test_is_id_agrees_with_the_standard_library(text):
    """What we accept, `uuid` reads back as the same text."""
    if is_id(text):
        assert str(uuid.UUID(text)) == text


def test_a_child_keeps_the_trace_and_its_flags_and_gets_its_own_parent_id():
    """W3C Trace Context: a new parent id on every hop."""
    child = child_traceparent(PARENT, FakeClock())
    assert child[:36] == PARENT[:36]
    assert child[36:52] != PARENT[36:52]
    assert child.endswith("-01")


@pytest.mark.parametrize(
    "parent",
    [None, "", "garbage", PARENT.upper(), "ff" + PARENT[2:], "00-" + "0" * 32 + PARENT[35:], PARENT[:36] + "0" * 16 + "-01",
     PARENT + "-extra", PARENT + " "],
)  # fmt: skip
def test_an_invalid_parent_starts_a_new_trace(parent):
    """Invalid: other version ff, zero ids, upper case, version 00 with more fields."""
    made = child_traceparent(parent, FakeClock())
    assert is_traceparent(made)
    assert parent is None or made[3:35] != parent[3:35]


def test_a_higher_version_is_read_as_this_one():
    """The processing model: parse what is known, answer in the known version."""
    child = child_traceparent("cc" + PARENT[2:] + "-what-the-future-brings", FakeClock())
    assert child.startswith(PARENT[:36])


def test_a_new_trace_never_has_ids_of_zero():
    """All-zero ids are invalid, however unlikely."""
    assert is_traceparent(new_traceparent(Zeros()))


def test_the_system_clock_counts_forward_and_in_utc():
    """Monotonic time never goes back; the wall clock is aware of its zone."""
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.now().utcoffset().total_seconds() == 0
    assert 0 <= clock.randbits(8) < 256


async def test_the_system_clock_sleeps_for_real():
    """A sleep of some milliseconds takes at least that long."""
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.002)
    assert clock.monotonic() - before >= 0.0019


def test_times_are_written_with_milliseconds_and_z():
    """RFC 3339, of fixed width, so that text sorts as time."""
    assert rfc3339(FakeClock().now()) == "2026-01-01T00:00:00.000Z"


@given(st.integers(0, 1000))
def test_a_uniform_number_lies_in_its_range(seed):
    """0 ≤ x < 1."""
    assert 0 <= uniform(FakeClock(seed=seed)) < 1
