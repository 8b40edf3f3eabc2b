"""Ids made in batches."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.entropy import Ids
from micro.ids import is_id, is_traceparent
from micro.testing import FakeClock


class Constant:
    """A clock whose chance always says the same."""

    def __init__(self, bit):
        self.bit = bit

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC)

    def randbits(self, bits):
        return ((1 << bits) - 1) * self.bit


def texts(ids):
    return [each.decode("ascii") for each in ids.make(0.0)]


@given(st.integers(0, 2**32))
def test_they_are_what_they_should_be(seed):
    ids = Ids(FakeClock(seed=seed))
    for _ in range(70):
        request_id, trace = texts(ids)
        assert is_id(request_id)
        assert request_id[14] == "7"
        assert request_id[19] in "89ab"
        assert is_traceparent(trace)
        assert is_traceparent(f"00-{'1' * 32}-{ids.span_id().decode()}-00")


def test_no_two_are_alike():
    ids = Ids(FakeClock())
    made = [ids.make(0.0) for _ in range(1000)]
    assert len({request_id for request_id, _ in made}) == 1000
    assert len({trace[3:35] for _, trace in made}) == 1000
    assert len({trace[36:52] for _, trace in made} | {ids.span_id() for _ in range(1000)}) == 2000


def test_what_ids_have_in_common_is_drawn_anew_for_each_batch():
    ids = Ids(FakeClock())
    made = [ids.make(float(number))[0] for number in range(256)]
    assert len({(request_id[15:18], request_id[20:23]) for request_id in made}) == 4
    assert len({request_id[24:] for request_id in made}) == 256


def test_two_gateways_make_different_ones():
    first, second = Ids(FakeClock(seed=1)), Ids(FakeClock(seed=2))
    assert not set(first.make(0.0)) & set(second.make(0.0))


def test_they_hold_even_if_chance_says_nothing_but_zeros_or_ones():
    for bit in (0, 1):
        ids = Ids(Constant(bit))
        for _ in range(130):
            request_id, trace = texts(ids)
            assert is_id(request_id)
            assert is_traceparent(trace)
            assert ids.span_id().strip(b"0")


async def test_request_ids_of_different_milliseconds_sort_by_time():
    clock = FakeClock()
    ids, made = Ids(clock), []
    for _ in range(50):
        made.append(ids.make(clock.monotonic())[0])
        await clock.advance(0.001)
    assert made == sorted(made)


def test_a_request_id_says_when_it_was_made():
    request_id, _ = texts(Ids(FakeClock()))
    milliseconds = int(request_id[:8] + request_id[9:13], 16)
    assert milliseconds == datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000


def test_the_wall_clock_is_read_again_when_half_a_millisecond_has_passed():
    clock = FakeClock()
    ids = Ids(clock)
    before, _ = ids.make(1.0)
    clock.jump(3600)
    assert ids.make(1.0004)[0][:13] == before[:13]
    assert ids.make(1.0006)[0][:13] > before[:13]
