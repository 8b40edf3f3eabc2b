"""Active checks: every instance is asked in the background, and the verdict is read when one is chosen."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from micro.clock import uniform
from micro.gateway.upstream.instance import HASTE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from micro.gateway.upstream.cluster import Cluster
    from micro.gateway.upstream.instance import Instance

logger = logging.getLogger("micro.gateway.upstream")


class Prober:
    """Probes each instance of a cluster in a task of its own, from its arrival until it leaves.

    A probe that raises or takes too long has failed. Waits are drawn from 0.9 to 1.1 of the interval, so that gateways
    and instances don't fall into step. Who has never been well is asked sooner at first: somebody waits for it.
    """

    def __init__(self, cluster: Cluster, probe: Callable[[Instance], Awaitable[bool]]) -> None:
        self._cluster = cluster
        self._probe = probe
        self._spec = cluster.spec.probe
        self._tasks: dict[Instance, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Probe, all at the same time, the first time at once. Never returns; when cancelled, leaves no task behind."""
        cluster = self._cluster
        async with asyncio.TaskGroup() as group:
            while True:
                cluster.news.clear()
                for instance in cluster.instances:
                    if instance not in self._tasks:
                        task = group.create_task(self._watch(instance), name=f"probe {instance.name}")
                        self._tasks[instance] = task
                for instance in [known for known in self._tasks if known.gone]:
                    self._tasks.pop(instance).cancel()
                await cluster.news.wait()

    async def _watch(self, instance: Instance) -> None:
        cluster, interval = self._cluster, self._spec.interval
        wait = interval / 2**HASTE
        while True:
            cluster.observed(instance, await self._ask(instance))
            wait = interval if instance.proven else min(wait, interval)
            await cluster.clock.sleep(wait * (0.9 + 0.2 * uniform(cluster.clock)))
            wait *= 2

    async def _ask(self, instance: Instance) -> str:
        """What speaks against it; empty for nothing."""
        try:
            async with asyncio.timeout(self._spec.timeout):
                return "" if await self._probe(instance) else "its answer says so"
        except TimeoutError:
            return f"no answer within {self._spec.timeout:g} s"
        except Exception as error:  # however a probe fails, it is a verdict, not an accident
            logger.debug("%s: the probe failed", instance.name, exc_info=True)
            return str(error) or type(error).__name__
