"""The driver's clients: asked with a deadline, and made anew where they don't answer.

Under a loop whose connections refuse a write once they are closed, the driver's task that keeps a client's knowledge of the
brokers ends with that refusal; whatever needs news of them then waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError

from micro.bus.kafka_errors import DRIVER_ERRORS, translate
from micro.cancellation import uncancelled
from micro.errors import BusUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ANSWER_IN = 15.0
"""Seconds for what takes the brokers milliseconds; the driver's own limit, 10 s, is for one request."""
STOP_IN = 5.0
_VITAL = (
    ("_client", "_sync_task"),
    ("client", "_sync_task"),
    ("_coordinator", "_coordination_task"),
    ("_fetcher", "_fetch_task"),
    ("_sender", "sender_task"),
)
_TASKS = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_fetch_task", "sender_task")


class Client:
    """One of the driver's clients at a time. Safe to use concurrently."""

    def __init__(
        self,
        brokers: str,
        start: Callable[[], Awaitable[Any]],
        *,
        drop: Callable[[Any], Awaitable[None]] | None = None,
    ) -> None:
        """`start` gives a client that is logged in, and raises our errors; `drop` (`discard`) ends one that is replaced."""
        self._brokers = brokers
        self._start = start
        self._drop = drop or discard
        self._driver: Any = None
        self._starting = asyncio.Lock()
        self._opened = False

    async def open(self) -> None:
        """Log in. Raises what `start` does."""
        self._opened = True
        await self.current()

    async def close(self) -> None:
        """Log out, by `discard`. Idempotent."""
        self._opened = False
        driver, self._driver = self._driver, None
        if driver is not None:
            await discard(driver)

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Any]:
        """The client, for a block that asks it something. Raises our errors; after `ANSWER_IN` seconds `BusUnavailable`."""
        driver = await self.current()
        try:
            async with answering(ANSWER_IN):
                yield driver
        except DRIVER_ERRORS as error:
            if is_stuck(error):
                await self.replace(driver)
            raise translate(error, self._brokers) from error

    async def current(self) -> Any:
        """The client, another one where its tasks have ended. Raises what `open` does; `BusUnavailable` where it is closed."""
        async with self._starting:
            if self._driver is not None and has_died(self._driver):
                await self.replace(self._driver)
            if self._driver is None and self._opened:
                self._driver = await self._start()
            if not self._opened:
                await self.close()  # which nobody could do with one that was just being made
                raise BusUnavailable("the bus is closed")
            return self._driver

    async def replace(self, driver: Any) -> None:
        """Drop a client, so that the next who asks gets another; nothing where that has been done."""
        if self._driver is driver:
            self._driver = None
            await self._drop(driver)


@asynccontextmanager
async def answering(seconds: float) -> AsyncIterator[None]:
    """A block in which the driver is asked something: raises `DRIVER_ERRORS`, after so many seconds `TimeoutError`.

    The driver cancels tasks of its own and awaits them, when it stops, too.
    """
    async with asyncio.timeout(seconds):
        with uncancelled("Kafka's driver"):
            yield


def has_died(driver: Any) -> bool:
    """Whether a task is over without which a client that is in use can't go on."""
    tasks = (getattr(getattr(driver, part, None), name, None) for part, name in _VITAL)
    return any(task is not None and task.done() for task in tasks)


def is_stuck(error: BaseException) -> bool:
    """Whether a client that raised this may never answer again."""
    return isinstance(error, (TimeoutError, RuntimeError)) and not isinstance(error, KafkaError)


async def start(
    driver: Any,
    brokers: str,
    *,
    within: float = ANSWER_IN,
    drop: Callable[[Any], Awaitable[None]] | None = None,
) -> Any:
    """The client, logged in, after `within` seconds at most; where it isn't, dropped (with `discard`, unless said).

    Raises our errors.
    """
    try:
        async with answering(within):
            await driver.start()
    except DRIVER_ERRORS as error:
        await (drop or discard)(driver)
        raise translate(error, brokers) from error
    return driver


async def discard(driver: Any) -> None:
    """Stop a client in its own way, in which a producer sends what it holds; where that fails or takes long, `abandon` it."""
    stop = driver.stop if hasattr(driver, "stop") else driver.close
    with contextlib.suppress(*DRIVER_ERRORS):
        async with answering(STOP_IN):
            await stop()
            return
    await abandon(driver)


async def abandon(driver: Any) -> None:
    """End a client's tasks and drop its connections."""
    for part in ("_coordinator", "_fetcher", "_sender"):
        for name in _TASKS:
            task = getattr(getattr(driver, part, None), name, None)
            if task is not None:
                task.cancel()
    driver._closed = True  # noqa: SLF001 # or it complains that nobody stopped it
    await hang_up(driver.client if hasattr(driver, "client") else driver._client)  # noqa: SLF001 # the public way is over


async def hang_up(client: Any) -> None:
    """Close the connections of a driver's innermost client, whatever has become of its task."""
    task, client._sync_task = client._sync_task, None  # noqa: SLF001 # or closing raises what has ended it
    if task is not None and not task.cancel() and not task.cancelled():
        task.exception()
    with contextlib.suppress(*DRIVER_ERRORS):
        async with answering(STOP_IN):
            await client.close()
