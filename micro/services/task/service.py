"""The task service: who owns, does and finishes what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro import Service
from micro.services.task.api import task_api
from micro.services.task.application import Board, CategoryView, TaskView
from micro.services.task.events import (
    TaskCompletedEvent,
    TaskCreatedEvent,
    TaskDeletedEvent,
    TaskUpdatedEvent,
)
from micro.services.task.infrastructure import SqlRows, Table

if TYPE_CHECKING:
    from micro import Resources

TASKS = Table("tasks", TaskView)
CATEGORIES = Table("categories", CategoryView)


def board(micro: Resources) -> Board:
    """The use cases on the service's own database."""
    return Board(SqlRows(micro, TASKS), SqlRows(micro, CATEGORIES), micro.clock)


service = Service(
    "task",
    app=task_api(board),
    routes=["/tasks", "/categories"],
    port=8002,
    migrations="migrations",
    publishes=[TaskCreatedEvent, TaskUpdatedEvent, TaskCompletedEvent, TaskDeletedEvent],
)
