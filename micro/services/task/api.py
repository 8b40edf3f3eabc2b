"""Tasks and categories over HTTP. Lists show the newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct, structs
from starlette.requests import Request  # noqa: TC002 # handlers' annotations are read at run time

from micro import Api, Id, Items, JsonResponse, Page, Problem, rfc3339
from micro.services.task.application import (
    NEWEST,
    CategoryInUse,
    CategoryView,
    Contended,
    TaskView,
    Unknown,
    UnknownCategory,
)
from micro.services.task.domain import Actor, Denied, TaskFields
from micro.web.auth import resources_of
from micro.web.etag import check_if_match, etag_of
from micro.web.pagination import decode_cursor, page_of
from micro.web.problems import invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro import Resources
    from micro.services.task.application import Board

ERRORS: dict[type[Exception], int] = {Denied: 403, Unknown: 404, CategoryInUse: 409, Contended: 409}
CHANGE = (403, 404, 409, 412)

# The look-ahead keeps Python's `$` from taking a final newline.
Line = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S", description="Not blank.")]
Subject = Annotated[str, Meta(max_length=128, pattern=r"^[!-~]+$(?!\n)", description="A user's id.")]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339, with its offset from UTC.")]


class TaskForm(Struct, frozen=True):
    """What a person sets; a replacement sets what is left out to its default."""

    title: Line
    description: Annotated[str, Meta(max_length=10_000)] = ""
    category_id: Id | None = None
    assignee_id: Subject | None = None
    due_at: Moment | None = None


class CategoryForm(Struct, frozen=True):
    """What a person sets."""

    name: Line


class TaskQuery(Page, frozen=True, kw_only=True):
    """Which tasks to list."""

    status: Literal["open", "completed"] | None = None
    category_id: Id | None = None
    assignee_id: Subject | None = None


def task_api(board: Callable[[Resources], Board]) -> Api:
    """The service's API, on the use cases that `board` makes for each request."""
    api = Api("task", version="1", description="Tasks, and categories to sort them under.", errors=ERRORS)
    tasks = Tasks(board)
    api.post("/tasks", status=201)(tasks.create_task)
    api.get("/tasks")(tasks.list_tasks)
    api.get("/tasks/{id}", problems=(403, 404))(tasks.read_task)
    api.put("/tasks/{id}", problems=CHANGE)(tasks.replace_task)
    api.delete("/tasks/{id}", status=204, problems=CHANGE)(tasks.delete_task)
    api.post("/tasks/{id}/complete", problems=CHANGE)(tasks.complete_task)
    categories = Categories(board)
    api.post("/categories", status=201)(categories.create_category)
    api.get("/categories")(categories.list_categories)
    api.get("/categories/{id}", problems=(404,))(categories.read_category)
    api.put("/categories/{id}", problems=CHANGE)(categories.rename_category)
    api.delete("/categories/{id}", status=204, problems=CHANGE)(categories.delete_category)
    return api


@dataclass(frozen=True, slots=True)
class Tasks:
    """Everything below `/tasks`."""

    board: Callable[[Resources], Board]

    async def create_task(self, request: Request, body: TaskForm) -> TaskView | JsonResponse:
        """Create a task that belongs to the caller."""
        try:
            created = await self._use(request).create_task(_actor(request), _fields(body))
        except UnknownCategory as error:
            raise _no_such_category() from error
        return _created(request, created)

    async def list_tasks(self, request: Request, query: TaskQuery) -> Items[TaskView]:
        """List the tasks that the caller owns or is assigned to; for an admin, all."""
        names = ("status", "category_id", "assignee_id")
        wanted = {name: value for name in names if (value := getattr(query, name)) is not None}
        found = await self._use(request).list_tasks(_actor(request), query.limit + 1, _before(query), wanted)
        return page_of(found, query.limit, lambda task: (task.id,))

    async def read_task(self, request: Request, id: Id) -> TaskView | JsonResponse:
        """Read one task, as its owner, its assignee or an admin."""
        return _answer(await self._use(request).task(_actor(request), id))

    async def replace_task(self, request: Request, id: Id, body: TaskForm) -> TaskView | JsonResponse:
        """Replace what a person may set, as the owner or an admin."""
        change = self._use(request).replace_task
        try:
            after = await change(_actor(request), id, _fields(body), expect=_condition(request))
        except UnknownCategory as error:
            raise _no_such_category() from error
        return _answer(after)

    async def delete_task(self, request: Request, id: Id) -> None:
        """Delete a task, as the owner or an admin."""
        await self._use(request).delete_task(_actor(request), id, expect=_condition(request))

    async def complete_task(self, request: Request, id: Id) -> TaskView | JsonResponse:
        """Complete a task, as the owner or an admin. Doing it again changes nothing."""
        change = self._use(request).complete_task
        return _answer(await change(_actor(request), id, expect=_condition(request)))

    def _use(self, request: Request) -> Board:
        return self.board(resources_of(request.scope))


@dataclass(frozen=True, slots=True)
class Categories:
    """Everything below `/categories`."""

    board: Callable[[Resources], Board]

    async def create_category(self, request: Request, body: CategoryForm) -> CategoryView | JsonResponse:
        """Create a category that belongs to the caller."""
        return _created(request, await self._use(request).create_category(_actor(request), body.name))

    async def list_categories(self, request: Request, query: Page) -> Items[CategoryView]:
        """List everybody's categories."""
        found = await self._use(request).list_categories(query.limit + 1, _before(query))
        return page_of(found, query.limit, lambda category: (category.id,))

    async def read_category(self, request: Request, id: Id) -> CategoryView | JsonResponse:
        """Read one category, whoever owns it."""
        return _answer(await self._use(request).category(id))

    async def rename_category(
        self, request: Request, id: Id, body: CategoryForm
    ) -> CategoryView | JsonResponse:
        """Replace the name, as the owner or an admin."""
        change = self._use(request).rename_category
        return _answer(await change(_actor(request), id, body.name, expect=_condition(request)))

    async def delete_category(self, request: Request, id: Id) -> None:
        """Delete a category that no task names, as the owner or an admin."""
        await self._use(request).delete_category(_actor(request), id, expect=_condition(request))

    def _use(self, request: Request) -> Board:
        return self.board(resources_of(request.scope))


def _actor(request: Request) -> Actor:
    identity = request.scope["state"]["identity"]
    return Actor(identity.subject, identity.role == "admin")


def _fields(form: TaskForm) -> TaskFields:
    due = form.due_at
    if (
        due is not None and not 1970 <= due.year < 9999
    ):  # so that no offset leads past the ends of a `datetime`
        raise invalid("/due_at", "Must lie between 1970 and 9998.")
    return TaskFields(**structs.asdict(form) | {"due_at": rfc3339(due) if due else None})


def _before(page: Page) -> str:
    (before,) = decode_cursor(page.cursor) or (NEWEST,)
    return before


def _condition(request: Request) -> Callable[[int], None]:
    return lambda version: check_if_match(request, etag_of(version))


def _answer(found: tuple[Struct, int]) -> JsonResponse:
    return JsonResponse(found[0], headers={"ETag": etag_of(found[1])})


def _created(request: Request, made: tuple[TaskView | CategoryView, int]) -> JsonResponse:
    place = f"{request.url.path}/{made[0].id}"
    return JsonResponse(made[0], 201, headers={"ETag": etag_of(made[1]), "Location": place})


def _no_such_category() -> Problem:
    return invalid("/category_id", "There is no such category.")
