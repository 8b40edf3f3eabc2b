"""What the services declare fits together, and none knows another by anything but topic names and JSON."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

import micro.services
from micro.services.notification.application import TaskFacts, UserFacts
from micro.services.notification.events import NotificationSentEvent
from micro.services.task.events import (
    TaskCompletedEvent,
    TaskCreatedEvent,
    TaskDeletedEvent,
    TaskUpdatedEvent,
)
from micro.services.user.events import UserCreatedEvent, UserUpdatedEvent

FOLDER = Path(micro.services.__file__).parent

TASK = {
    "task_id": "str",
    "title": "str",
    "description": "str",
    "status": "str",
    "category_id": "str | None",
    "assignee_id": "str | None",
    "owner_id": "str",
    "due_at": "str | None",
    "created_at": "str",
    "updated_at": "str",
    "completed_at": "str | None",
}
USER = {
    "user_id": "str",
    "email": "str",
    "name": "str",
    "role": "str",
    "created_at": "str",
    "updated_at": "str",
}
PUBLISHED = {
    TaskCreatedEvent: TASK,
    TaskUpdatedEvent: TASK | {"changed": "list[str]"},
    TaskCompletedEvent: TASK,
    TaskDeletedEvent: TASK,
    UserCreatedEvent: USER,
    UserUpdatedEvent: USER | {"changed": "list[str]"},
    NotificationSentEvent: {
        "notification_id": "str",
        "user_id": "str",
        "channel": "str",
        "sent_at": "str",
    },
}


@pytest.mark.parametrize("kind", PUBLISHED, ids=lambda kind: kind.__name__)
def test_an_event_keeps_its_members(kind):
    """Subscribers we don't know read them: taking one away or changing its type needs a new version."""
    assert {field.name: field.type for field in fields(kind)} == PUBLISHED[kind]
    assert kind.version == 1


def test_every_event_is_published_by_the_service_whose_topic_it_is_on(services):
    """`user.events` is the user service's, and so on; no two have one name."""
    published = {kind: name for name, service in services.items() for kind in service.publishes}
    assert published.keys() == PUBLISHED.keys()
    assert all(kind.topic == f"{name}.events" for kind, name in published.items())
    assert len({kind.__name__ for kind in published}) == len(published)


def test_every_subscription_is_to_something_that_is_published(services):
    """By type and topic, as the stack checks when it starts."""
    published = {(kind.__name__, kind.topic) for service in services.values() for kind in service.publishes}
    for service in services.values():
        for handler in service.handlers:
            assert (handler.type, handler.topic) in published


@pytest.mark.parametrize(
    ("reads", "kind"),
    [
        (UserFacts, UserCreatedEvent),
        (UserFacts, UserUpdatedEvent),
        (TaskFacts, TaskCompletedEvent),
    ],
    ids=lambda each: each.__name__,
)
def test_the_consumer_reads_only_what_the_producer_sends(reads, kind):
    """Each member that is read is there, with a type that the reader takes, null included."""
    sent = {field.name: field.type for field in fields(kind)}
    for member in msgspec.structs.fields(reads):
        nullable = type(None) in getattr(member.type, "__args__", ())
        assert sent[member.name] in ({"str", "str | None"} if nullable else {"str"})


@pytest.mark.parametrize("name", ["user", "task", "notification"])
def test_no_service_imports_another(name):
    """Copying one is copying one folder."""
    others = {other.name for other in FOLDER.iterdir() if (other / "service.py").exists()} - {name}
    assert others
    for file in (FOLDER / name).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            for module in modules:
                assert not any(module.startswith(f"micro.services.{other}") for other in others), file


@pytest.mark.parametrize("name", ["task", "notification"])
def test_inside_a_service_imports_lead_inwards(name):
    """Service → api, infrastructure → application → domain → events; the domain has the standard library besides."""
    inner = {
        "events": set(),
        "domain": {"events"},
        "delivery": {"domain", "events"},
        "application": {"delivery", "domain", "events"},
        "infrastructure": {"application", "delivery", "domain", "events"},
        "channels": {"application", "delivery", "domain", "events"},
        "api": {"application", "delivery", "domain", "events"},
    }
    for module, allowed in inner.items():
        file = FOLDER / name / f"{module}.py"
        if not file.exists():
            continue
        imported = {
            node.module.removeprefix(f"micro.services.{name}.")
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"micro.services.{name}")
        }
        assert imported <= allowed, file
