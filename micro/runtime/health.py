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
DEGRADED = "degraded"
"""It serves, but less than it promises."""
VERDICTS = frozenset({HEALTHY, UNHEALTHY})
_GOOD = frozenset({HEALTHY, STARTING})
"""No reason to worry."""


class HealthBoard:
    """The latest verdict per service. `run` asks every `interval` seconds; each change is reported once.

    `probes` find out whether a service is well; of those that somebody else looks after, verdicts are read: see `follow`.
    """

    def __init__(
        self,
        probes: Mapping[str, Callable[[], Awaitable[bool]]],
        *,
        clock: Clock,
        changed: Callable[[str, str], None],
        interval: float = 2.0,
    ) -> None:
        self.verdicts: dict[str, str] = dict.fromkeys(probes, STARTING)
        self._followed: dict[str, Callable[[], str]] = {}
        self._beside: dict[str, Callable[[], str]] = {}
        self._probes = probes
        self._clock = clock
        self._changed = changed
        self._interval = interval
        self._news = asyncio.Event()

    def read(self) -> Mapping[str, str]:
        """The verdicts as they stand, and what is watched besides, where that is not well."""
        self.look()
        unwell = {name: verdict for name, read in self._beside.items() if (verdict := read()) != HEALTHY}
        return {**self.verdicts, **unwell} if unwell else self.verdicts

    def watch(self, name: str, read: Callable[[], str]) -> None:
        """Show `name`, which is no service, with the verdicts while `read` says it is not well. Nobody waits for it."""
        self._beside[name] = read

    async def run(self) -> None:
        """Ask at once, then again and again. Never returns."""
        while True:
            await self.check()
            await self._clock.sleep(self._interval)

    async def check(self) -> None:
        """Ask every service once, all at the same time."""
        await asyncio.gather(*(self._ask(name, probe) for name, probe in self._probes.items()))
        self.look()

    def follow(self, name: str, read: Callable[[], str]) -> None:
        """Take the verdict on a service from `read`, whenever `look` is called, and at each check."""
        self.verdicts[name] = STARTING
        self._followed[name] = read

    def look(self) -> None:
        """Read the verdicts that are followed; call it when one has changed."""
        for name, read in self._followed.items():
            self._note(name, read())

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
        if self._note(name, verdict):
            self._changed(name, verdict)

    def _note(self, name: str, verdict: str) -> bool:
        """Whether that is another verdict than before."""
        if self.verdicts[name] == verdict:
            return False
        before, self.verdicts[name] = self.verdicts[name], verdict
        if verdict not in _GOOD:
            _log.warning("%s is %s", name, verdict)
        elif before not in _GOOD:
            _log.info("%s is %s again", name, verdict)
        self._news.set()
        return True
