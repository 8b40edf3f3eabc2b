"""Tasks and categories: what they are, what may happen to them, and who may do it. Times are RFC 3339 UTC."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from micro.services.task.events import TaskEvent

E = TypeVar("E", bound=TaskEvent)

OPEN = "open"
COMPLETED = "completed"


class Denied(Exception):
    """The actor may not do this."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks."""

    id: str
    admin: bool = False

    def must_be(self, *allowed: str | None) -> None:
        """Raise `Denied` unless the actor is one of those, or an admin."""
        if not self.admin and self.id not in allowed:
            raise Denied("This is somebody else's.")


@dataclass(frozen=True, slots=True)
class TaskFields:
    """What a person may set."""

    title: str
    description: str = ""
    category_id: str | None = None
    assignee_id: str | None = None
    due_at: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be done. `version` grows by one with each change."""

    id: str
    title: str
    description: str
    status: str
    category_id: str | None
    assignee_id: str | None
    owner_id: str
    due_at: str | None
    created_at: str
    updated_at: str
    completed_at: str | None
    version: int = 1

    @classmethod
    def create(cls, fields: TaskFields, *, id: str, owner_id: str, now: str) -> Task:
        """An open task."""
        return cls(
            id=id,
            owner_id=owner_id,
            status=OPEN,
            created_at=now,
            updated_at=now,
            completed_at=None,
            **asdict(fields),
        )

    def replaced(self, fields: TaskFields, now: str) -> Task:
        """With other fields; the very same object where nothing differs."""
        after = replace(self, **asdict(fields))
        return replace(after, updated_at=now, version=self.version + 1) if after != self else self

    def completed(self, now: str) -> Task:
        """Done; the very same object where it was done before."""
        if self.status == COMPLETED:
            return self
        return replace(self, status=COMPLETED, completed_at=now, updated_at=now, version=self.version + 1)

    def changed_since(self, before: Task) -> list[str]:
        """Names of the fields set by a person that differ, sorted."""
        names = sorted(TaskFields.__dataclass_fields__)
        return [name for name in names if getattr(self, name) != getattr(before, name)]

    def announce(self, kind: type[E], **more: object) -> E:
        """The event of that kind about this task."""
        facts = asdict(self) | more
        del facts["version"]
        return kind(task_id=facts.pop("id"), **facts)


@dataclass(frozen=True, slots=True)
class Category:
    """A name to sort tasks under."""

    id: str
    name: str
    owner_id: str
    created_at: str
    updated_at: str
    version: int = 1

    def renamed(self, name: str, now: str) -> Category:
        """With another name; the very same object where it is the same name."""
        if name == self.name:
            return self
        return replace(self, name=name, updated_at=now, version=self.version + 1)
