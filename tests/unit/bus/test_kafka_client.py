"""One of the driver's clients at a time, which is asked with a deadline and replaced where it doesn't answer."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import errors

from micro.bus import kafka_client
from micro.bus.kafka_client import Client, discard, hang_up, has_died
from micro.errors import BusUnavailable


class Inner:
    """The driver's innermost client: connections, and a task that keeps up what it knows."""

    def __init__(self):
        self._sync_task = asyncio.ensure_future(asyncio.Event().wait())
        self.closed = False

    async def close(self):
        if self._sync_task is not None:
            self._sync_task.cancel()
            await asyncio.wait([self._sync_task])
        self.closed = True


class Driver:
    def __init__(self, *, stops=True):
        self._client = Inner()
        self._coordinator = type("Coordinator", (), {"_coordination_task": asyncio.ensure_future(never())})()
        self._stops = stops

    async def stop(self):
        if not self._stops:
            await never()
        self._coordinator._coordination_task.cancel()
        await self._client.close()


async def never():
    await asyncio.Event().wait()


@pytest.fixture
async def made(monkeypatch):
    """The drivers that were made, in turn; each answers within moments or never."""
    monkeypatch.setattr(kafka_client, "ANSWER_IN", 0.1)
    monkeypatch.setattr(kafka_client, "STOP_IN", 0.1)
    drivers = []
    yield drivers
    for driver in drivers:
        await discard(driver)


@pytest.fixture
async def client(made):
    async def start():
        made.append(Driver())
        return made[-1]

    client = Client("broker:9092", start)
    await client.open()
    return client


async def test_errors_of_the_driver_come_out_as_ours_and_others_as_they_are(client, made):
    with pytest.raises(BusUnavailable, match="no broker answers") as caught:
        async with client.use():
            raise errors.KafkaConnectionError
    assert isinstance(caught.value.__cause__, errors.KafkaConnectionError)
    with pytest.raises(ZeroDivisionError):
        async with client.use():
            raise ZeroDivisionError
    assert len(made) == 1, "it has answered"


@pytest.mark.parametrize("how", ["silent", "broken"])
async def test_one_that_does_not_answer_is_replaced(client, made, how):
    with pytest.raises(BusUnavailable):
        async with client.use():
            if how == "broken":
                raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")
            await never()
    assert made[0]._client.closed
    async with client.use() as driver:
        assert driver is made[1]


async def test_one_whose_task_has_ended_is_replaced_before_it_is_asked(client, made):
    task = made[0]._client._sync_task
    task.cancel()
    await asyncio.wait([task])
    assert has_died(made[0])
    async with client.use() as driver:
        assert driver is made[1]
        assert not has_died(driver)


async def test_closed_it_says_so(client, made):
    await client.close()
    await client.close()
    assert made[0]._client.closed
    with pytest.raises(BusUnavailable, match="closed"):
        async with client.use():
            pytest.fail("there is none")


async def test_closed_while_it_logs_in_it_leaves_nothing_behind(made):
    starting, started = asyncio.Event(), asyncio.Event()

    async def start():
        starting.set()
        await started.wait()
        made.append(Driver())
        return made[-1]

    client = Client("broker:9092", start)
    opening = asyncio.create_task(client.open())
    async with asyncio.timeout(60):
        await starting.wait()
        await client.close()
        started.set()
        with pytest.raises(BusUnavailable, match="closed"):
            await opening
    assert made[0]._client.closed


async def test_one_that_is_replaced_is_dropped_as_was_said(made):
    dropped = []

    async def start():
        made.append(Driver())
        return made[-1]

    async def drop(driver):
        dropped.append(driver)

    client = Client("broker:9092", start, drop=drop)
    await client.open()
    first = await client.current()
    await client.replace(first)
    await client.replace(first)
    assert dropped == [first], "once"
    assert await client.current() is made[1]
    await client.close()
    assert dropped == [first], "closing is another matter"


async def test_one_that_does_not_stop_is_taken_apart(made):
    driver = Driver(stops=False)
    await discard(driver)
    await asyncio.wait([driver._coordinator._coordination_task])
    assert driver._coordinator._coordination_task.cancelled()
    assert driver._client.closed


async def test_one_that_stops_by_awaiting_what_it_has_cancelled_is_taken_apart(made):
    """Its consumer does, while the broker is away: that is no reason for the task that stops it to end."""

    class Cancels(Driver):
        async def stop(self):
            task = self._coordinator._coordination_task
            task.cancel()
            await task

    driver = Cancels()
    await discard(driver)
    assert driver._client.closed


async def test_connections_are_closed_though_the_task_beside_them_has_failed(recwarn):
    async def fail():
        raise RuntimeError("unable to perform operation")

    inner = Inner()
    inner._sync_task.cancel()
    inner._sync_task = asyncio.ensure_future(fail())
    await asyncio.wait([inner._sync_task])
    await hang_up(inner)
    assert inner.closed
