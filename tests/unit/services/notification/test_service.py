"""What the service declares, and its document."""

from __future__ import annotations

from pathlib import Path

import pytest

from micro.services.notification import service as module
from micro.services.notification.domain import Notification
from micro.services.notification.service import service
from micro.store.migrate import load_migrations


def test_it_declares_what_the_design_says():
    """Name, port, routes, events and subscriptions."""
    assert (service.name, service.port, service.routes) == ("notification", 8003, ("/notifications",))
    assert [(kind.__name__, kind.topic) for kind in service.publishes] == [
        ("NotificationSentEvent", "notification.events")
    ]
    assert {(handler.type, handler.topic) for handler in service.handlers} == {
        ("UserCreatedEvent", "user.events"),
        ("UserUpdatedEvent", "user.events"),
        ("TaskCompletedEvent", "task.events"),
    }
    assert len(service.backgrounds) == 1


async def test_the_document_has_every_operation(ana):
    """With the fields of the design, and none of the service's own."""
    document = (await ana.get("/openapi.json")).json()
    assert {path: sorted(item) for path, item in document["paths"].items()} == {
        "/notifications": ["get", "post"],
        "/notifications/{id}": ["delete", "get"],
        "/notifications/{id}/send": ["post"],
    }
    assert list(document["components"]["schemas"]["NotificationView"]["properties"]) == [
        "id",
        "user_id",
        "channel",
        "target",
        "subject",
        "body",
        "status",
        "created_at",
        "sent_at",
    ]


async def test_the_document_says_that_a_deletion_answers_204(ana):
    """As it does."""
    paths = (await ana.get("/openapi.json")).json()["paths"]
    responses = paths["/notifications/{id}"]["delete"]["responses"]
    assert "204" in responses
    assert "200" not in responses


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_every_field_has_its_column_in_both_dialects(dialect):
    """The columns are named after the fields."""
    folder = Path(module.__file__).parent / "migrations"
    (migration,) = load_migrations(folder, dialect)
    table = migration.sql.split("create table addresses")[0]
    columns = {line.split()[0] for line in table.splitlines() if line.startswith("    ")}
    assert columns == set(Notification.__dataclass_fields__)
