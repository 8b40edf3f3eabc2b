"""What lasts is said when it begins, once a minute, and when it is over."""

from __future__ import annotations

import logging

import pytest

from micro.bus.notice import Notice


@pytest.fixture
def notice(clock, caplog):
    caplog.set_level(logging.INFO)
    return Notice("events wait", over="events go on", log=logging.getLogger("test"), clock=clock)


async def test_it_is_said_once_a_minute_however_often_it_is_met(notice, clock, caplog):
    for second in range(125):
        notice.lasts(f"no broker {second}")
        await clock.advance(1)
    assert caplog.messages == [f"events wait: no broker {second}" for second in (0, 60, 120)]
    assert notice.reason == "no broker 124"


async def test_its_end_is_said_once_and_then_it_may_begin_again(notice, caplog):
    notice.ends()
    for _ in range(2):
        notice.lasts("no broker")
        notice.ends()
        notice.ends()
    assert notice.reason is None
    assert caplog.messages == ["events wait: no broker", "events go on"] * 2
