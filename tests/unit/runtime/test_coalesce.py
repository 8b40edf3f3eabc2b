"""Answers leave in one piece, in order, whatever ends the connection."""

from __future__ import annotations

import asyncio

import pytest

from micro.runtime.coalesce import CoalescingTransport


class Recorder:
    """A transport that notes what is done with it."""

    def __init__(self):
        self.done = []

    def write(self, data):
        self.done.append(bytes(data))

    def close(self):
        self.done.append("closed")

    def set_protocol(self, protocol):
        self.done.append(protocol)

    def is_closing(self):
        return "closed" in self.done


@pytest.fixture
async def recorder():
    """The real transport's stand-in."""
    return Recorder()


@pytest.fixture
async def transport(recorder):
    """The transport under test."""
    return CoalescingTransport(recorder, asyncio.get_running_loop())


async def turn():
    """Let one turn of the event loop pass."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_soon(passed.set)
    await passed.wait()


async def test_what_is_written_in_one_turn_is_sent_as_one(transport, recorder):
    """Head and body are one system call."""
    transport.write(b"head ")
    transport.writelines([b"bo", b"dy"])
    assert recorder.done == []
    await turn()
    assert recorder.done == [b"head body"]


async def test_each_turn_is_sent_at_its_end(transport, recorder):
    """A stream is not held back."""
    for piece in (b"one", b"two"):
        transport.write(piece)
        await turn()
    assert recorder.done == [b"one", b"two"]


async def test_closing_sends_what_was_written_before(transport, recorder):
    """The last words arrive, and nothing is sent after."""
    transport.write(b"bye")
    transport.close()
    assert transport.is_closing()
    await turn()
    assert recorder.done == [b"bye", "closed"]


async def test_handing_the_connection_over_sends_what_was_written_before(transport, recorder):
    """101 comes before the first frame."""
    transport.write(b"101")
    transport.set_protocol("websocket")
    await turn()
    assert recorder.done == [b"101", "websocket"]


async def test_nothing_written_is_nothing_sent(transport, recorder):
    """A flush without content is silent."""
    transport.flush()
    assert recorder.done == []


async def test_what_a_lost_connection_was_to_get_is_dropped(transport, recorder):
    """The client left within the turn: there is nobody to send to, and nothing to say about it."""
    transport.write(b"late")
    recorder.close()
    await turn()
    assert recorder.done == ["closed"]
