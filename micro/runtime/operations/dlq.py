"""`micro dlq`: the events that services gave up on, over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from micro.bus.letters import Letters
from micro.errors import NotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from micro.bus.letters import Outcome
    from micro.bus.parking import Parking
    from micro.runtime.system import System

_PAGE = 200


class Chosen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters; a field that is `None` takes any."""

    service: str | None = None
    topic: str | None = None
    type: str | None = None
    exception: str | None = None
    """The name of the exception's class."""
    limit: Annotated[int, msgspec.Meta(ge=0)] = 50
    ids: tuple[str, ...] | None = None
    everything: bool = False
    """All that the other fields choose; a change needs this or `ids`."""
    dry_run: bool = False
    """Say what would be done, and do nothing."""

    @property
    def letters(self) -> Letters:
        """The same, in the words of the bus."""
        return Letters(
            ids=self.ids or (), topic=self.topic, type=self.type, error=self.exception, every=self.everything
        )


class DeadLetterOperations:
    """Lists and shows dead letters, has them handled again, or gives them up for good."""

    def __init__(self, system: System) -> None:
        self._system = system

    async def select(self, chosen: Chosen) -> AsyncIterator[dict[str, Any]]:
        """Dead letters, service by service, the oldest first."""
        left = chosen.limit
        async for letter in self._matching(chosen):
            yield letter
            left -= 1
            if not left:
                return

    async def inspect(self, *, id: str, service: str | None = None) -> dict[str, Any]:
        """All that is known of one. Raises `NotFound`; `UsageError` where several services gave up on that event."""
        found = [name for name, parking in self._parkings(service) if await _has(parking, id)]
        if not found:
            raise NotFound(f"no service has a dead letter {id}; see: micro dlq list")
        if len(found) > 1:
            raise UsageError(f"{' and '.join(found)} gave up on {id}; say which with --service")
        return {"service": found[0], **await dict(self._parkings(None))[found[0]].inspect(id)}

    async def replay(self, chosen: Chosen) -> dict[str, Any]:
        """Have them handled again, in order; one that fails again stays, with the new reason."""
        return await self._change(chosen, lambda parking, letters: parking.replay(letters))

    async def skip(self, chosen: Chosen) -> dict[str, Any]:
        """Give them up; what waits behind them goes on."""
        return await self._change(chosen, lambda parking, letters: parking.skip(letters))

    async def purge(self, chosen: Chosen) -> dict[str, Any]:
        """Give them up, with everything that waits behind them."""
        return await self._change(chosen, lambda parking, letters: parking.purge(letters))

    async def _change(
        self, chosen: Chosen, change: Callable[[Parking, Letters], AsyncIterator[Outcome]]
    ) -> dict[str, Any]:
        if not chosen.ids and not chosen.everything:
            raise UsageError("which dead letters? Name ids, or say all")
        letters = [letter async for letter in self._matching(chosen)]
        missing = set(chosen.ids or ()) - {str(letter["id"]) for letter in letters}
        if missing:
            raise NotFound(f"no dead letter {', '.join(sorted(missing))}; see: micro dlq list")
        if not chosen.dry_run:
            for name, parking in self._parkings(chosen.service):
                mine = {str(letter["id"]): letter for letter in letters if letter["service"] == name}
                # By id: what died while the list was made is not meant.
                for ids in _pages(list(mine)):
                    async for outcome in change(parking, Letters(ids=ids)):
                        mine[outcome.id] |= {"outcome": outcome.outcome, "detail": outcome.detail}
        return {"items": letters}

    async def _matching(self, chosen: Chosen) -> AsyncIterator[dict[str, Any]]:
        for name, parking in self._parkings(chosen.service):
            after = 0
            while page := await parking.list(chosen.letters, after=after, limit=_PAGE):
                for letter in page:
                    yield _line(name, letter)
                after = page[-1]["seq"]

    def _parkings(self, service: str | None) -> Iterator[tuple[str, Parking]]:
        if service is not None:
            self._system.hosted(service)
        for name, hosted in self._system.services.items():
            if service in {None, name} and hosted.instance.events is not None:
                yield name, hosted.instance.events.parking


async def _has(parking: Parking, id: str) -> bool:
    return bool(await parking.list(Letters(ids=(id,)), limit=1, waiting=True))


def _line(service: str, letter: dict[str, Any]) -> dict[str, Any]:
    error = letter.pop("error") or {}
    return {"service": service, **letter, "exception": error.get("type"), "message": error.get("message")}


def _pages(ids: list[str]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(ids), _PAGE):
        yield tuple(ids[start : start + _PAGE])
