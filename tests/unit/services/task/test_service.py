"""What the service declares, and its document."""

from __future__ import annotations

from pathlib import Path

import pytest

from micro.services.task import service as module
from micro.services.task.service import service
from micro.store.migrate import load_migrations


def test_it_declares_what_the_design_says():
    """Name, port, routes and events."""
    assert (service.name, service.port, service.routes) == ("task", 8002, ("/tasks", "/categories"))
    assert {kind.__name__ for kind in service.publishes} == {
        "TaskCreatedEvent",
        "TaskUpdatedEvent",
        "TaskCompletedEvent",
        "TaskDeletedEvent",
    }
    assert {kind.topic for kind in service.publishes} == {"task.events"}
    assert (service.handlers, service.backgrounds) == ([], [])


async def test_the_document_says_that_a_deletion_answers_204(ana):
    """As it does."""
    paths = (await ana.get("/openapi.json")).json()["paths"]
    for path in ("/tasks/{id}", "/categories/{id}"):
        assert "204" in paths[path]["delete"]["responses"]
        assert "200" not in paths[path]["delete"]["responses"]


async def test_the_document_has_every_operation(harness, ana):
    """With the fields of the design."""
    document = (await ana.get("/openapi.json")).json()
    operations = {
        (method, path)
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert operations == {
        ("post", "/tasks"),
        ("get", "/tasks"),
        ("get", "/tasks/{id}"),
        ("put", "/tasks/{id}"),
        ("delete", "/tasks/{id}"),
        ("post", "/tasks/{id}/complete"),
        ("post", "/categories"),
        ("get", "/categories"),
        ("get", "/categories/{id}"),
        ("put", "/categories/{id}"),
        ("delete", "/categories/{id}"),
    }
    schemas = document["components"]["schemas"]
    assert list(schemas["TaskView"]["properties"]) == [
        "id",
        "title",
        "description",
        "status",
        "category_id",
        "assignee_id",
        "owner_id",
        "due_at",
        "created_at",
        "updated_at",
        "completed_at",
    ]
    assert list(schemas["CategoryView"]["properties"]) == [
        "id",
        "name",
        "owner_id",
        "created_at",
        "updated_at",
    ]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_both_dialects_have_the_same_tables(dialect):
    """The twin differs in types and what only one of them knows."""
    folder = Path(module.__file__).parent / "migrations"
    names = {
        line.split()[0]
        for migration in load_migrations(folder, dialect)
        for line in migration.sql.splitlines()
        if line.startswith("    ")
    }
    assert names == {
        "id",
        "title",
        "description",
        "status",
        "category_id",
        "assignee_id",
        "owner_id",
        "due_at",
        "created_at",
        "updated_at",
        "completed_at",
        "version",
        "name",
    }


async def test_reading_a_task_costs_one_statement(harness, ana, make, plan):
    """The path that the benchmark measures."""
    task = await make.task(ana)
    statements = []
    query = harness.micro.store.query

    async def spy(sql, *parameters):
        statements.append(sql)
        return await query(sql, *parameters)

    harness.micro.store.query = spy
    await ana.get(f"/tasks/{task['id']}")
    assert len(statements) == 1
    first, *_ = await plan(statements[0], task["id"])
    assert "SEARCH tasks USING INDEX" in first or "Index Scan using tasks_pkey" in first


async def test_an_answer_that_changes_nothing_opens_no_transaction(harness, ana, make):
    """Completing again, or a stale tag: the one writer of the file isn't waited for."""
    task = await make.task(ana)
    await ana.post(f"/tasks/{task['id']}/complete")

    def refuse(**_):
        raise AssertionError("a transaction was opened")

    harness.micro.store.transaction = refuse
    assert (await ana.post(f"/tasks/{task['id']}/complete")).status == 200
    stale = {"if-match": '"1"'}
    assert (await ana.delete(f"/tasks/{task['id']}", headers=stale)).status == 412
