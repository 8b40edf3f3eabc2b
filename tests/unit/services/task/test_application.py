"""Changes when others are faster, on rows in memory that play the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import convert

from micro.services.task.application import TRIES, Board, Contended, Rows, TaskView, Unknown
from micro.services.task.domain import Actor, Task, TaskFields
from micro.testing import FakeClock

ANA = Actor("ana")
ID = "019b76da-a800-7eb1-a7a9-c3787c65c1e5"
FIRST = Task.create(TaskFields(title="Buy milk"), id=ID, owner_id="ana", now="2026-01-01T00:00:00.000Z")


class Crowd(Rows[Task, TaskView]):
    """One task, which somebody else changes right before each of the next `rivals` writes."""

    def __init__(self, *, rivals: int = 0, then=lambda task: replace(task, version=task.version + 1)):
        self.task: Task | None = FIRST
        self.rivals = rivals
        self.then = then
        self.events = []

    async def find(self, id):
        return (convert(self.task, TaskView, from_attributes=True), self.task.version) if self.task else None

    async def page(self, limit, before, wanted, reader=None):
        return []

    async def add(self, thing, event=None):
        raise NotImplementedError

    async def swap(self, before, after, event):
        if self.rivals:
            self.rivals -= 1
            self.task = self.then(self.task)
        if self.task is None or self.task.version != before.version:
            return False
        self.task = after
        self.events.append(event)
        return True


def board(crowd: Crowd) -> Board:
    return Board(crowd, None, FakeClock())


def anything(version: int) -> None:
    """A precondition that always holds."""


async def test_a_change_that_lost_is_applied_to_what_won():
    """The rival's title is overwritten knowingly, the rest of their change kept."""
    crowd = Crowd(rivals=3)
    view, version = await board(crowd).replace_task(ANA, ID, TaskFields(title="Buy tea"), expect=anything)
    assert (view.title, version) == ("Buy tea", 5)
    assert len(crowd.events) == 1


async def test_what_changed_is_told_against_what_won():
    """Not against what was read first."""
    rival = {"title": "Buy tea", "version": 2}
    crowd = Crowd(rivals=1, then=lambda task: replace(task, **rival))
    await board(crowd).replace_task(ANA, ID, TaskFields("Buy tea", "Green"), expect=anything)
    assert crowd.events[0].changed == ["description"]


async def test_a_precondition_is_checked_against_what_won():
    """The first look passed, the second does not: the change is not taken."""

    class Stale(Exception):
        pass

    def only_the_first(version: int) -> None:
        if version != 1:
            raise Stale

    crowd = Crowd(rivals=1)
    with pytest.raises(Stale):
        await board(crowd).complete_task(ANA, ID, expect=only_the_first)
    assert crowd.events == []


async def test_a_rival_who_completes_first_leaves_nothing_to_do():
    """The answer is theirs, and there is no second event."""
    crowd = Crowd(rivals=1, then=lambda task: task.completed("2026-01-02T00:00:00.000Z"))
    view, version = await board(crowd).complete_task(ANA, ID, expect=anything)
    assert (view.completed_at, version) == ("2026-01-02T00:00:00.000Z", 2)
    assert crowd.events == []


async def test_a_rival_who_deletes_first_leaves_nothing_to_find():
    """Neither for a change nor for a deletion."""
    for operation in ("complete_task", "delete_task"):
        crowd = Crowd(rivals=1, then=lambda task: None)
        with pytest.raises(Unknown):
            await getattr(board(crowd), operation)(ANA, ID, expect=anything)


async def test_a_deletion_that_lost_tells_of_what_it_removed():
    """The task as it was right before."""
    crowd = Crowd(rivals=1, then=lambda task: replace(task, title="Buy wine", version=2))
    await board(crowd).delete_task(ANA, ID, expect=anything)
    assert (crowd.task, crowd.events[0].title) == (None, "Buy wine")


async def test_a_permission_lost_in_between_is_noticed():
    """The task went to another owner: looked at again, it is no longer hers."""
    crowd = Crowd(rivals=1, then=lambda task: replace(task, owner_id="ben", version=2))
    with pytest.raises(Exception, match="somebody else"):
        await board(crowd).complete_task(ANA, ID, expect=anything)


@pytest.mark.parametrize("operation", ["complete_task", "delete_task"])
async def test_who_never_wins_gives_up(operation):
    """After a bounded number of tries, with nothing changed."""
    crowd = Crowd(rivals=TRIES + 1)
    with pytest.raises(Contended, match="at the same time"):
        await getattr(board(crowd), operation)(ANA, ID, expect=anything)
    assert (crowd.rivals, crowd.events) == (1, [])
