"""What a tunnel lets through of a WebSocket's frames (RFC 6455 section 5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.upstream.frames import MAX_MESSAGE, PROTOCOL_ERROR, TOO_BIG, FrameWatch, close_frame


def frame(payload=b"", opcode=2, *, fin=True, masked=False, length=None):
    size = len(payload) if length is None else length
    mask = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head += bytes([mask | size])
    elif size < 1 << 16:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + size.to_bytes(8, "big")
    return head + (b"mask" if masked else b"") + payload


FRAMES = st.builds(
    frame,
    st.one_of(st.binary(max_size=20), st.sampled_from([b"x" * 125, b"x" * 126, b"x" * 70000])),
    st.sampled_from([1, 2]),
    masked=st.booleans(),
)


@given(st.lists(FRAMES, max_size=5), st.integers(1, 50_000))
def test_everything_passes_unchanged_in_whatever_pieces_it_comes(frames, step):
    watch, wire = FrameWatch(), b"".join(frames)
    passed = b"".join(watch.feed(wire[at : at + step]) for at in range(0, len(wire), step))
    assert passed == wire
    assert (watch.code, watch.between, watch.closing) == (0, True, False)


def test_what_is_whole_passes_as_the_very_object_that_came():
    data = frame(b"hello") + frame(b"world")
    assert FrameWatch().feed(data) is data


def test_the_beginning_of_a_header_waits_for_its_rest():
    watch, wire = FrameWatch(), frame(b"a") + frame(b"b" * 200, masked=True)
    assert watch.feed(wire[:6]) == frame(b"a")
    assert watch.between
    assert watch.feed(wire[6:]) == wire[3:]


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_message_may_not_be_too_long_whatever_its_fragments(step):
    watch, half = FrameWatch(), b"x" * (MAX_MESSAGE // 2)
    assert watch.feed(frame(half, fin=False))
    assert watch.feed(frame(half, opcode=0, fin=False))
    bad = frame(b"x", opcode=0)
    passed = b"".join(watch.feed(bad[at : at + step]) for at in range(0, len(bad), step) if not watch.code)
    assert (passed, watch.code, watch.between) == (b"", TOO_BIG, True)


def test_a_message_that_is_too_long_is_seen_before_a_byte_of_it_passes():
    watch = FrameWatch()
    assert watch.feed(frame(b"a") + frame(b"x" * 10, length=MAX_MESSAGE + 1)) == frame(b"a")
    assert watch.code == TOO_BIG


def test_messages_are_counted_each_by_itself():
    watch, large = FrameWatch(), frame(b"x" * (MAX_MESSAGE - 1))
    for _ in range(3):
        assert watch.feed(large) is large
    assert watch.code == 0


def test_control_frames_between_fragments_don_t_count():
    watch = FrameWatch()
    wire = frame(b"a", 1, fin=False) + frame(b"ping", 9) + frame(b"b", 0)
    assert watch.feed(wire) == wire


def test_a_control_frame_may_not_be_long():
    watch = FrameWatch()
    assert watch.feed(frame(b"x" * 126, 9)) == b""
    assert watch.code == PROTOCOL_ERROR


@pytest.mark.parametrize("masked", [True, False])
def test_a_close_frame_is_seen(masked):
    watch = FrameWatch()
    closing = close_frame(1001, masked=masked)
    assert watch.feed(closing) == closing
    assert watch.closing
    assert closing[-2:] == (1001).to_bytes(2, "big")
