"""What one can do with tasks and categories, and what that needs of a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

from msgspec import Struct, convert, structs

from micro import Id, Timestamp, new_id, rfc3339
from micro.services.task.domain import Category, Task
from micro.services.task.events import (
    TaskCompletedEvent,
    TaskCreatedEvent,
    TaskDeletedEvent,
    TaskUpdatedEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from micro import Clock, Event
    from micro.services.task.domain import Actor, TaskFields

TRIES = 100
NEWEST = "~"
"""Sorts after every id."""


class Unknown(Exception):
    """There is no such thing."""


class UnknownCategory(Exception):
    """A task names a category that does not exist."""


class CategoryInUse(Exception):
    """A category can't go while tasks name it."""


class Contended(Exception):
    """Others changed the same thing each time this change was tried."""


class TaskView(Struct, frozen=True):
    """A task, as people see it."""

    id: Id
    title: str
    description: str
    status: Literal["open", "completed"]
    category_id: Id | None
    assignee_id: str | None
    owner_id: str
    due_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp
    completed_at: Timestamp | None


class CategoryView(Struct, frozen=True):
    """A category, as people see it."""

    id: Id
    name: str
    owner_id: str
    created_at: Timestamp
    updated_at: Timestamp


T = TypeVar("T", bound=Task | Category)
T_contra = TypeVar("T_contra", bound=Task | Category, contravariant=True)
V = TypeVar("V", bound=TaskView | CategoryView)


class Rows(Protocol[T_contra, V]):
    """Tasks or categories. What is written and the event about it commit together."""

    async def find(self, id: str) -> tuple[V, int] | None:
        """One of them, with its version."""
        ...

    async def page(
        self, limit: int, before: str, wanted: Mapping[str, str], *, reader: str | None = None
    ) -> list[V]:
        """Up to `limit` with an id below `before`, the highest first: ids grow with time, so the newest.

        `wanted` are values that fields must have. With a reader, only what they own or are assigned to.
        """
        ...

    async def add(self, thing: T_contra, event: Event | None = None) -> None:
        """Store a new thing. Raises `UnknownCategory`."""
        ...

    async def swap(self, before: T_contra, after: T_contra | None, event: Event | None) -> bool:
        """Put `after` in the place of `before`, or remove it; false when it is no longer what `before` says.

        Raises `UnknownCategory` or `CategoryInUse`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Board:
    """The use cases, which answer with what there is now and its version. They raise `Unknown`, `Denied`, `Contended`.

    Those that change something that is there are given `expect`, which is told the version found and may raise.
    """

    tasks: Rows[Task, TaskView]
    categories: Rows[Category, CategoryView]
    clock: Clock

    async def create_task(self, actor: Actor, fields: TaskFields) -> tuple[TaskView, int]:
        """An open task that belongs to the actor. Raises `UnknownCategory`."""
        task = Task.create(fields, id=new_id(self.clock), owner_id=actor.id, now=self._now())
        await self.tasks.add(task, task.announce(TaskCreatedEvent))
        return _seen(task, TaskView)

    async def task(self, actor: Actor, id: str) -> tuple[TaskView, int]:
        """One task that the actor may see."""
        found = _known(await self.tasks.find(id))
        actor.must_be(found[0].owner_id, found[0].assignee_id)
        return found

    async def list_tasks(
        self, actor: Actor, limit: int, before: str, wanted: Mapping[str, str]
    ) -> list[TaskView]:
        """Those that the actor may see; see `Rows.page`."""
        return await self.tasks.page(limit, before, wanted, reader=None if actor.admin else actor.id)

    async def replace_task(
        self, actor: Actor, id: str, fields: TaskFields, *, expect: Callable[[int], None]
    ) -> tuple[TaskView, int]:
        """All that a person may set, set anew. Raises `UnknownCategory`."""

        def edit(before: Task) -> tuple[Task, Event]:
            after = before.replaced(fields, self._now())
            return after, after.announce(TaskUpdatedEvent, changed=after.changed_since(before))

        return _seen(await Change(self.tasks, Task, actor, expect).make(id, edit), TaskView)

    async def complete_task(
        self, actor: Actor, id: str, *, expect: Callable[[int], None]
    ) -> tuple[TaskView, int]:
        """Done. Done again, it stays as it is."""

        def edit(before: Task) -> tuple[Task, Event]:
            after = before.completed(self._now())
            return after, after.announce(TaskCompletedEvent)

        return _seen(await Change(self.tasks, Task, actor, expect).make(id, edit), TaskView)

    async def delete_task(self, actor: Actor, id: str, *, expect: Callable[[int], None]) -> None:
        """Gone."""
        change = Change(self.tasks, Task, actor, expect)
        await change.remove(id, lambda task: task.announce(TaskDeletedEvent))

    async def create_category(self, actor: Actor, name: str) -> tuple[CategoryView, int]:
        """A category that belongs to the actor."""
        now = self._now()
        category = Category(new_id(self.clock), name, actor.id, now, now)
        await self.categories.add(category)
        return _seen(category, CategoryView)

    async def category(self, id: str) -> tuple[CategoryView, int]:
        """One category; anybody may see it."""
        return _known(await self.categories.find(id))

    async def list_categories(self, limit: int, before: str) -> list[CategoryView]:
        """Everybody's; see `Rows.page`."""
        return await self.categories.page(limit, before, {})

    async def rename_category(
        self, actor: Actor, id: str, name: str, *, expect: Callable[[int], None]
    ) -> tuple[CategoryView, int]:
        """Another name."""
        change = Change(self.categories, Category, actor, expect)
        after = await change.make(id, lambda before: (before.renamed(name, self._now()), None))
        return _seen(after, CategoryView)

    async def delete_category(self, actor: Actor, id: str, *, expect: Callable[[int], None]) -> None:
        """Gone, where no task names it; otherwise raises `CategoryInUse`."""
        await Change(self.categories, Category, actor, expect).remove(id, lambda _: None)

    def _now(self) -> str:
        return rfc3339(self.clock.now())


@dataclass(frozen=True, slots=True)
class Change(Generic[T, V]):
    """A change, by the owner or an admin, of what is there at that moment.

    When somebody else was faster it looks again, so nothing is overwritten unseen, and nothing is locked meanwhile.
    """

    rows: Rows[T, V]
    kind: type[T]
    actor: Actor
    expect: Callable[[int], None]

    async def make(self, id: str, edit: Callable[[T], tuple[T, Event | None]]) -> T:
        """What there is afterwards. Nothing happens where `edit` returns the very object that it was given."""
        for _ in range(TRIES):
            before = await self._find(id)
            after, event = edit(before)
            if after is before or await self.rows.swap(before, after, event):
                return after
        raise Contended("Others changed this at the same time.")

    async def remove(self, id: str, announce: Callable[[T], Event | None]) -> None:
        """Take it away."""
        for _ in range(TRIES):
            before = await self._find(id)
            if await self.rows.swap(before, None, announce(before)):
                return
        raise Contended("Others changed this at the same time.")

    async def _find(self, id: str) -> T:
        view, version = _known(await self.rows.find(id))
        self.actor.must_be(view.owner_id)
        self.expect(version)
        return self.kind(**structs.asdict(view), version=version)


def _known(found: tuple[V, int] | None) -> tuple[V, int]:
    if found is None:
        raise Unknown
    return found


def _seen(thing: Task | Category, kind: type[V]) -> tuple[V, int]:
    return convert(thing, kind, from_attributes=True), thing.version
