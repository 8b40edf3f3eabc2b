"""The rules of tasks and categories, without a database or a request."""

from __future__ import annotations

import pytest

from micro.services.task.domain import Actor, Category, Denied, Task, TaskFields
from micro.services.task.events import (
    TaskCompletedEvent,
    TaskCreatedEvent,
    TaskDeletedEvent,
    TaskUpdatedEvent,
)

MONDAY = "2026-01-05T00:00:00.000Z"
TUESDAY = "2026-01-06T00:00:00.000Z"


def task(**fields) -> Task:
    return Task.create(TaskFields(title="Buy milk", **fields), id="1", owner_id="ana", now=MONDAY)


def test_an_actor_is_who_they_are_or_an_admin():
    """Otherwise `Denied`."""
    Actor("ana").must_be("ana")
    Actor("ana").must_be("ben", "ana")
    Actor("root", admin=True).must_be("ana")
    with pytest.raises(Denied):
        Actor("eve").must_be("ana", "ben", None)


def test_a_new_task_is_open_in_its_first_version():
    """Created and updated at the same moment."""
    new = task()
    assert (new.status, new.version, new.completed_at) == ("open", 1, None)
    assert new.created_at == new.updated_at == MONDAY


def test_replacing_sets_every_field_that_a_person_may_set():
    """Those left out too; identity, owner, status and creation stay."""
    before = task(description="Two litres", assignee_id="ben", due_at=TUESDAY)
    after = before.replaced(TaskFields(title="Buy tea"), TUESDAY)
    assert (after.title, after.description, after.assignee_id, after.due_at) == ("Buy tea", "", None, None)
    assert (after.id, after.owner_id, after.status, after.created_at) == ("1", "ana", "open", MONDAY)
    assert (after.updated_at, after.version) == (TUESDAY, 2)


def test_replacing_by_the_same_is_no_change():
    """The very same object says so."""
    before = task(description="Two litres")
    assert before.replaced(TaskFields("Buy milk", "Two litres"), TUESDAY) is before


def test_completing_is_done_once():
    """The second time it is the very same object."""
    done = task().completed(TUESDAY)
    assert (done.status, done.completed_at, done.updated_at, done.version) == (
        "completed",
        TUESDAY,
        TUESDAY,
        2,
    )
    assert done.completed(MONDAY) is done


def test_what_changed_is_named_in_order():
    """Only what a person set: not the version, not the times."""
    before = task(assignee_id="ben")
    after = before.replaced(TaskFields("Buy tea", "Green"), TUESDAY)
    assert after.changed_since(before) == ["assignee_id", "description", "title"]
    assert before.changed_since(before) == []


@pytest.mark.parametrize("kind", [TaskCreatedEvent, TaskCompletedEvent, TaskDeletedEvent])
def test_an_event_holds_all_of_the_task_but_its_version(kind):
    """The version is this service's own business."""
    event = task(assignee_id="ben").announce(kind)
    assert type(event) is kind
    assert (event.task_id, event.title, event.owner_id, event.assignee_id) == ("1", "Buy milk", "ana", "ben")
    assert not hasattr(event, "version") or isinstance(type(event).version, int)


def test_an_update_event_says_what_changed():
    """Beside the whole task."""
    event = task().announce(TaskUpdatedEvent, changed=["title"])
    assert (event.changed, event.title) == (["title"], "Buy milk")


def test_renaming_a_category_gives_a_new_version():
    """The same name again gives the very same object."""
    before = Category("1", "Shopping", "ana", MONDAY, MONDAY)
    after = before.renamed("Errands", TUESDAY)
    assert (after.name, after.updated_at, after.created_at, after.version) == (
        "Errands",
        TUESDAY,
        MONDAY,
        2,
    )
    assert after.renamed("Errands", MONDAY) is after
