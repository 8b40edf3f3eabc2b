"""The verbs about the services' databases."""

from __future__ import annotations

from typing import Any

import pytest

from micro.errors import ConfigurationError, MigrationError, NotFound, StoreUnavailable, UsageError


async def test_status_lists_each_services_migrations_with_the_time(running: Any) -> None:
    items = (await running.end("db.status", service="shop"))["items"]
    assert all(item["applied_at"].endswith("Z") for item in items)
    assert {"service": "shop", "number": 1, "name": "orders"}.items() <= items[-1].items()
    assert {item["service"] for item in (await running.end("db.status"))["items"]} == {"shop", "crates"}


async def test_migrate_applies_what_is_new_and_says_so(running: Any, folder: Any) -> None:
    (folder / "migrations" / "0002_more.sql").write_text("create table more (id text primary key) strict;")
    pending = (await running.end("db.status", service="shop"))["items"][-1]
    assert pending["applied_at"] is None
    [applied] = (await running.end("db.migrate", service="shop"))["items"]
    assert applied["name"] == "more"
    assert applied["applied_at"] is not None
    assert (await running.end("db.migrate", service="shop"))["items"] == []


async def test_an_edited_migration_is_an_error(running: Any, folder: Any) -> None:
    (folder / "migrations" / "0001_orders.sql").write_text("create table other (id text) strict;")
    with pytest.raises(MigrationError, match="edited"):
        await running.end("db.status")


async def test_a_query_gives_columns_and_rows(running: Any) -> None:
    await running.order("one")
    answer = await running.end("db.query", service="shop", sql="select word, x'0aff' as raw from orders")
    assert answer == {"columns": ["word", "raw"], "rows": [["one", "X'0aff'"]], "changed": 0}


async def test_without_write_nothing_can_be_changed(running: Any) -> None:
    with pytest.raises(UsageError, match="shop"):
        await running.end("db.query", service="shop", sql="insert into orders values ('a')")
    assert (await running.end("db.query", service="shop", sql="select * from orders"))["rows"] == []


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("insert into orders values ('a'), ('b')", {"columns": [], "rows": [], "changed": 2}),
        (
            "insert into orders values ('a') returning word",
            {"columns": ["word"], "rows": [["a"]], "changed": 0},
        ),
    ],
)
async def test_with_write_it_can(running: Any, sql: str, answer: dict[str, Any]) -> None:
    assert await running.end("db.query", service="shop", sql=sql, write=True) == answer


async def test_what_the_database_refuses_is_a_sentence(running: Any) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        await running.end("db.query", service="shop", sql="select * from nowhere")


async def test_a_large_answer_is_cut_and_says_so(running: Any) -> None:
    sql = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 10001) select i from n"
    answer = await running.end("db.query", service="shop", sql=sql)
    assert len(answer["rows"]) == 10_000
    assert answer["truncated"] == 10_001


async def test_a_database_out_of_reach_is_no_fault_of_the_statement(running: Any) -> None:
    await running.system.services["shop"].store.close()
    with pytest.raises(StoreUnavailable):
        await running.end("db.query", service="shop", sql="select 1")


async def test_a_service_that_has_none_or_is_unknown_says_so(running: Any) -> None:
    with pytest.raises(ConfigurationError, match="no database"):
        await running.end("db.query", service="plain", sql="select 1")
    with pytest.raises(NotFound, match="did you mean"):
        await running.end("db.status", service="shap")
