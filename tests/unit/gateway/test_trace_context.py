"""W3C Trace Context by its processing model: https://www.w3.org/TR/trace-context/#processing-model."""

from __future__ import annotations

import pytest

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"


def parent(version="00", trace=TRACE_ID, span=PARENT_ID, *, flags="01", rest=""):
    return f"{version}-{trace}-{span}-{flags}{rest}"


@pytest.fixture
def send(bench, echo):
    """What the service gets: traceparent and tracestate."""
    bench.serve(echo)

    async def send(*headers):
        assert (await bench.ask("GET", headers=headers)).status == 200
        (sent,) = echo.sent("traceparent")
        return sent, echo.sent("tracestate")

    return send


@pytest.mark.parametrize(
    "value",
    [
        parent(),
        parent("01"),
        parent("cc", rest="-what-follows"),
        parent("fe", rest="-"),
    ],
)
async def test_a_trace_goes_on_in_the_version_that_is_known(send, value):
    sent, _ = await send(("traceparent", value))
    assert sent.startswith(f"00-{TRACE_ID}-")
    assert sent[36:52] != PARENT_ID
    assert sent.endswith("-01")


@pytest.mark.parametrize(
    "value",
    [
        parent("ff"),
        parent("0"),
        parent("000"),
        parent("0G"),
        parent("CC"),
        parent(rest="-"),
        parent(rest="-x"),
        parent("cc", rest=".x"),
        parent("cc", rest="x"),
        parent(trace="0" * 32),
        parent(span="0" * 16),
        parent(trace=TRACE_ID.upper()),
        parent(span=PARENT_ID.upper()),
        parent(flags="0G"),
        parent(flags="0A"),
        parent(flags="1"),
        parent(trace=TRACE_ID[:-1]),
        parent(trace=TRACE_ID + "0"),
        parent(span=PARENT_ID[:-1]),
        parent().replace("-", "_"),
        f"{parent()}, {parent()}",
        "",
        "-",
    ],
)
async def test_what_is_no_traceparent_starts_a_new_trace_without_a_state(send, value):
    sent, state = await send(("traceparent", value), ("tracestate", "a=1"))
    assert TRACE_ID not in sent.lower()
    assert int(sent[3:35], 16)
    assert int(sent[36:52], 16)
    assert state == []


@pytest.mark.parametrize(
    ("flags", "kept"),
    [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("09", "01"), ("ff", "03"), ("fc", "00")],
)
async def test_flags_that_nobody_has_defined_are_sent_as_zero(send, flags, kept):
    for version in ("00", "cc"):
        sent, _ = await send(("traceparent", parent(version, flags=flags)))
        assert sent[-2:] == kept


@pytest.mark.parametrize(
    "value",
    [
        "a=1",
        "a=1,b=2",
        "a=1, b=2 ,\tc=3",
        "a=1,,b=2,",
        "vendor@system=x",
        "1tenant@system=x",
        "a_-*/0=x",
        "a=" + "x" * 256,
        "a" * 256 + "=x",
        "a= x",
        "a=!#$%&'()*+-./:;<>?@[]^_`{|}~",
        ",".join(f"k{number}=v" for number in range(32)),
        ",".join(f"k{number}={'v' * 200}" for number in range(32)),
    ],
)
async def test_a_state_goes_on_as_it_came(send, value):
    _, state = await send(("traceparent", parent()), ("tracestate", value))
    assert state == [value]


async def test_several_lines_of_state_are_one_list(send):
    _, state = await send(("traceparent", parent()), ("tracestate", "a=1"), ("tracestate", "b=2"))
    assert state == ["a=1, b=2"]


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        "a",
        "a=",
        "=1",
        "A=1",
        "a=1=2",
        "a=ä",
        "a b=1",
        "a=1;b=2",
        "@a=1",
        "_a=1",
        "a=1,a=2",
        "a=1,B=2",
        "a=" + "x" * 257,
        "a" * 257 + "=x",
        ",".join(f"k{number}=v" for number in range(33)),
    ],
)
async def test_a_state_that_cannot_be_read_is_dropped_and_the_trace_is_not(send, value):
    sent, state = await send(("traceparent", parent()), ("tracestate", value))
    assert sent.startswith(f"00-{TRACE_ID}-")
    assert state == []


async def test_a_state_without_a_trace_is_dropped(send):
    assert (await send(("tracestate", "a=1")))[1] == []


async def test_the_log_names_the_trace(send, bench):
    await send(("traceparent", parent()))
    assert bench.log[0].trace_id == TRACE_ID
