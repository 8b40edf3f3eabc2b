"""The OpenAPI documents of a stack's services, for the gateway's one document over all of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from micro.errors import CallError, MicroError
from micro.runtime.health import HEALTHY
from micro.runtime.inprocess import ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from micro.clock import Clock
    from micro.gateway.upstream.local import LocalUpstream
    from micro.gateway.upstream.network import NetworkUpstream

_LIMIT = 2.0
"""Seconds that a service gets to give its document: somebody waits for the page."""
_REST = 30.0
"""Seconds for which one that let them pass is not asked again."""


class Documents:
    """Asks the services for their documents, all at the same time.

    A service that gives none in time is left out, and for half a minute nobody waits for it again.
    """

    def __init__(
        self,
        upstreams: Mapping[str, LocalUpstream | NetworkUpstream],
        verdicts: Mapping[str, str],
        *,
        clock: Clock,
    ) -> None:
        self._upstreams = upstreams
        self._verdicts = verdicts
        self._clock = clock
        self._resting: dict[str, float] = {}
        """Until when the services that were too slow are not asked."""

    async def read(self) -> dict[str, dict[str, Any]]:
        """The document of each healthy service that gives one now."""
        now = self._clock.monotonic()
        names = [
            name
            for name in self._upstreams
            if self._verdicts[name] == HEALTHY and self._resting.get(name, now) <= now
        ]
        found = await asyncio.gather(*map(self._document, names))
        return {name: document for name, document in zip(names, found, strict=True) if document}

    async def _document(self, name: str) -> dict[str, Any] | None:
        try:
            reply = await ask(self._upstreams[name].call, "GET", "/openapi.json", timeout=_LIMIT)
            document = reply.json() if reply.status == 200 else None
        except CallError:  # no answer in time, or one without an end
            self._resting[name] = self._clock.monotonic() + _REST
            return None
        except (MicroError, ValueError):
            return None
        return document if isinstance(document, dict) else None
