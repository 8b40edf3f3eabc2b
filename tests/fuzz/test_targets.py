"""The targets of `make fuzz`, as far as hypothesis finds its way: every test run looks a little."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))

from targets import SEEDS, TARGETS, answered, unchunked

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "400"))
REPEATABLE = "FUZZ_EXAMPLES" not in os.environ
PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"0", b"5", b"\x00", b"\x0b", b"\xa0", b"HTTP/1.1", b"hello",
    b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"connection: ", b"x-a", b"0\r\n\r\n", b"a\r\n",
]  # fmt: skip


@st.composite
def near(draw, seeds):
    """A seed with some of its bytes taken out, or others put in."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 4)))
        data = data[:start] + draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3))) + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_finds_nothing(name):
    @settings(max_examples=EXAMPLES, derandomize=REPEATABLE, database=None, deadline=None)
    @given(st.one_of(near(SEEDS[name]), st.lists(st.sampled_from(PIECES)).map(b"".join), st.binary()))
    def check(data):
        TARGETS[name](data)

    check()


def test_the_strict_readers_read():
    """A target that compares with nothing finds nothing."""
    assert unchunked(b"5;a=b\r\nhello\r\n0\r\nX-A: 1\r\n\r\nrest") == (b"hello", b"rest")
    assert unchunked(b"5\nhello\r\n0\r\n\r\n") is None
    assert unchunked(b"5\r\nhello\r\n0\r\n") is None
    assert answered(b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!") == (
        200,
        b"hello",
    )
    assert answered(b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello") is None
