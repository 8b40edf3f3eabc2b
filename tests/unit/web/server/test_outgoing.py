"""Small writes leave at the end of the event loop's turn, in order, whatever ends the connection."""

from __future__ import annotations

import asyncio

import pytest

from micro.web.server.outgoing import SMALL, Outgoing


class Recorder:
    """A transport that notes what is done with it."""

    def __init__(self):
        self.done = []

    def write(self, data):
        if self.is_closing():  # as uvloop's
            raise RuntimeError("unable to perform operation; the handler is closed")
        if "half closed" in self.done:
            raise RuntimeError("Cannot call write() after write_eof()")
        self.done.append(bytes(data))

    def write_eof(self):
        self.done.append("half closed")

    def close(self):
        self.done.append("closed")

    def abort(self):
        self.done.append("aborted")

    def set_protocol(self, protocol):
        self.done.append(protocol)

    def is_closing(self):
        return "closed" in self.done or "aborted" in self.done

    def get_write_buffer_size(self):
        return 7

    def can_write_eof(self):
        return True

    def get_extra_info(self, name, default=None):
        return default

    def get_protocol(self):
        return "protocol"

    def is_reading(self):
        return True

    def pause_reading(self):
        self.done.append("paused")

    def resume_reading(self):
        self.done.append("resumed")

    def set_write_buffer_limits(self, high=None, low=None):
        self.done.append((high, low))


@pytest.fixture
async def outgoing():
    return Outgoing()


@pytest.fixture
async def recorder():
    """The real transport's stand-in."""
    return Recorder()


@pytest.fixture
async def transport(outgoing, recorder):
    """The transport under test."""
    return outgoing.over(recorder)


async def turn():
    """Let one turn of the event loop pass."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_soon(passed.set)
    await passed.wait()


async def test_what_is_written_in_one_turn_is_sent_as_one(transport, recorder):
    transport.write(b"head ")
    transport.writelines([b"bo", b"dy"])
    assert recorder.done == []
    assert transport.get_write_buffer_size() == 16
    await turn()
    assert recorder.done == [b"head body"]


async def test_each_turn_is_sent_at_its_end(transport, recorder):
    for piece in (b"one", b"two"):
        transport.write(piece)
        await turn()
    assert recorder.done == [b"one", b"two"]


async def test_several_connections_are_served_one_after_the_other(outgoing):
    recorders = [Recorder() for _ in range(3)]
    for recorder in recorders:
        outgoing.over(recorder).write(b"x")
    await turn()
    assert [recorder.done for recorder in recorders] == [[b"x"]] * 3
    assert outgoing.waiting == []


@pytest.mark.parametrize("before", [b"", b"head "])
async def test_what_is_large_leaves_at_once_behind_what_was_kept(transport, recorder, before):
    if before:
        transport.write(before)
    transport.write(b"x" * SMALL)
    assert recorder.done == [before + b"x" * SMALL]
    await turn()
    assert len(recorder.done) == 1


async def test_nothing_large_is_written_to_a_connection_that_is_closed(transport, recorder):
    transport.close()
    transport.write(b"x" * SMALL)
    assert recorder.done == ["closed"]


async def test_another_error_in_sending_is_not_hidden(transport, recorder):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    transport.write(b"late")
    recorder.write_eof()
    await turn()
    assert [str(error) for error in told] == ["Cannot call write() after write_eof()"]
    assert recorder.done == ["half closed", "aborted"], "something is missing: the client is to notice"


async def test_where_one_connection_can_not_be_sent_to_the_others_get_what_is_theirs(outgoing):
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    recorders = [Recorder() for _ in range(3)]
    for recorder in recorders:
        outgoing.over(recorder).write(b"x")
    recorders[0].write_eof()
    await turn()
    assert [recorder.done for recorder in recorders[1:]] == [[b"x"]] * 2


@pytest.mark.parametrize(
    ("end", "what"), [("close", "closed"), ("abort", "aborted"), ("write_eof", "half closed")]
)
async def test_the_end_comes_after_what_was_written_before(transport, recorder, end, what):
    transport.write(b"bye")
    getattr(transport, end)()
    await turn()
    assert recorder.done == [b"bye", what]


async def test_handing_the_connection_over_sends_what_was_written_before(transport, recorder):
    transport.write(b"101")
    transport.set_protocol("websocket")
    await turn()
    assert recorder.done == [b"101", "websocket"]


async def test_what_a_lost_connection_was_to_get_is_dropped(transport, recorder):
    transport.write(b"late")
    recorder.close()
    await turn()
    assert recorder.done == ["closed"]


async def test_everything_else_is_the_real_transports(transport, recorder):
    transport.pause_reading()
    transport.resume_reading()
    transport.set_write_buffer_limits(9, 8)
    assert recorder.done == ["paused", "resumed", (9, 8)]
    assert (transport.can_write_eof(), transport.is_reading(), transport.get_protocol()) == (
        True,
        True,
        "protocol",
    )
    assert transport.get_extra_info("x", 3) == 3
