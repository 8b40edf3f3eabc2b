"""What the task service publishes on `task.events`, keyed by the task's id. Other services read the JSON, not this."""

from __future__ import annotations

from micro import Event


class TaskEvent(Event, topic="task.events"):
    """The whole task as it was right after the change; right before it for a deletion. Times are RFC 3339 UTC."""

    task_id: str
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


class TaskCreatedEvent(TaskEvent):
    """A task was created."""


class TaskUpdatedEvent(TaskEvent):
    """A task's own fields were replaced. Not sent when nothing changed."""

    changed: list[str]
    """Names of the fields that differ from before, sorted."""


class TaskCompletedEvent(TaskEvent):
    """A task went from open to completed. Sent once for each task."""


class TaskDeletedEvent(TaskEvent):
    """A task is gone."""
