"""Whether each service is well: asked in the background, read by the gateway and the commands without waiting."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from micro.clock import Clock

_log = logging.getLogger("micro.runtime.health")

HEALTHY, UNHEALTHY, STARTING = "healthy", "unhealthy", "starting"


class HealthBoard:
    """The latest verdict per service. `run` asks every `interval` seconds; each change is reported once."""

    def __init__(
        self,
        probes: Mapping[str, Callable[[], Awaitable[bool]]],
        *,
        clock: Clock,
        changed: Callable[[str, str], None],
        interval: float = 2.0,
    ) -> None:
        self.verdicts: dict[str, str] = dict.fromkeys(probes, STARTING)
        self._probes = probes
        self._clock = clock
        self._changed = changed
        self._interval = interval
        self._news = asyncio.Event()

    def read(self) -> Mapping[str, str]:
        """The verdicts as they stand."""
        return self.verdicts

    async def run(self) -> None:
        """Ask at once, then again and again. Never returns."""
        while True:
            await self.check()
            await self._clock.sleep(self._interval)

    async def check(self) -> None:
        """Ask every service once, all at the same time."""
        await asyncio.gather(*(self._ask(name, probe) for name, probe in self._probes.items()))

    async def healthy(self) -> None:
        """Return when every service is healthy."""
        while any(verdict != HEALTHY for verdict in self.verdicts.values()):
            self._news.clear()
            await self._news.wait()

    async def _ask(self, name: str, probe: Callable[[], Awaitable[bool]]) -> None:
        try:
            well = await probe()
        except Exception:  # noqa: BLE001 - a probe that fails in whatever way is a verdict, not an accident
            _log.debug("%s: the health probe failed", name, exc_info=True)
            well = False
        verdict = HEALTHY if well else UNHEALTHY
        if self.verdicts[name] != verdict:
            before, self.verdicts[name] = self.verdicts[name], verdict
            if verdict == UNHEALTHY:
                _log.warning("%s is unhealthy", name)
            elif before == UNHEALTHY:
                _log.info("%s is healthy again", name)
            self._news.set()
            self._changed(name, verdict)
