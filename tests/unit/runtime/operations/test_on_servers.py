"""The verbs of a stack that does not run, on real servers: no lock, no folder, and nothing made by looking."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from micro.config.read import read_config
from micro.errors import DatabaseMissing, MigrationError, NotFound, UsageError
from micro.runtime.operations.offline import NEEDS, follows, open_offline

pytestmark = pytest.mark.live
_numbers = count(1)


@pytest.fixture
def stack(
    postgres_server: str, kafka_server: str, redis_server: str, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Two services on databases of their own that are not there yet."""
    (folder / "micro.toml").write_text(
        '[services.lone]\nservice = "server_service_of_test:lone"\n[services.plain]\napp = "server_service_of_test:app"\n'
    )
    (folder / "server_service_of_test.py").write_text(
        "from micro import Service\nlone = Service('lone', migrations='migrations')\nasync def app(*_): ...\n"
    )
    environ = {
        "MICRO_STORE": postgres_server.format(service=f"offline_{next(_numbers)}") + "?schema={service}",
        "MICRO_BUS": kafka_server,
        "MICRO_CACHE": redis_server,
    }
    (folder / "migrations" / "0001_orders.postgresql.sql").write_text("create table orders (word text);")
    config = read_config(folder, environ)
    return config, config.profile()


async def do(stack: Any, verb: str, *, only: str | None = None, **args: Any) -> Any:
    async with open_offline(*stack, verb=verb, service=only) as done:
        answer = done(**args)
        return [item async for item in answer] if hasattr(answer, "__aiter__") else await answer


async def test_a_missing_database_is_pending_then_made_then_migrated(stack: Any, folder: Any) -> None:
    for _ in range(2):
        states = (await do(stack, "db.status"))["items"]
        assert [state["applied_at"] for state in states] == [None] * len(states)
    with pytest.raises(UsageError, match="make it with: micro db migrate"):
        await do(stack, "db.query", service="lone", sql="select 1")
    with pytest.raises(DatabaseMissing):
        await do(stack, "dlq.list")

    made = await do(stack, "db.migrate")
    assert made["made"] == ["lone"]
    assert len(made["items"]) == len(states)
    assert await do(stack, "db.migrate") == {"made": [], "items": []}
    assert all(state["applied_at"] for state in (await do(stack, "db.status"))["items"])
    assert await do(stack, "dlq.list") == []
    assert not (folder / ".micro").exists()


async def test_a_database_without_micro_s_tables_says_what_to_do(stack: Any) -> None:
    await do(stack, "db.migrate")
    await do(stack, "db.query", service="lone", sql="delete from micro_migrations", write=True)
    with pytest.raises(MigrationError, match="lone is not up to date; mend it with: micro db migrate"):
        await do(stack, "events.stats")


async def test_only_the_database_that_is_named_is_opened(stack: Any) -> None:
    with pytest.raises(NotFound, match="did you mean 'lone'"):
        await do(stack, "db.migrate", only="loan", service="loan")
    assert (await do(stack, "db.migrate", only="lone", service="lone"))["made"] == ["lone"]


async def test_a_statement_s_rows_come_with_what_json_can_carry(stack: Any) -> None:
    await do(stack, "db.migrate")
    sql = "select 1 as n, true as yes, 'x' as t, '\\x0aff'::bytea as b, now() as at, null as nothing, 1.5::numeric as d"
    answer = await do(stack, "db.query", service="lone", sql=sql)
    assert answer["columns"] == ["n", "yes", "t", "b", "at", "nothing", "d"]
    [[n, yes, text, raw, at, nothing, d]] = answer["rows"]
    assert (n, yes, text, raw, nothing, d) == (1, 1, "x", "X'0aff'", None, 1.5)
    assert isinstance(at, str)
    [[version]] = (await do(stack, "db.query", service="lone", sql="show server_version"))["rows"]
    assert version.startswith("18.")
    with pytest.raises(UsageError, match="only reads"):
        await do(stack, "db.query", service="lone", sql="insert into orders values ('x')")
    changed = await do(stack, "db.query", service="lone", sql="insert into orders values ('x')", write=True)
    assert changed["changed"] == 1


async def test_events_need_no_database_at_all(stack: Any) -> None:
    topic = f"offline.{next(_numbers)}"
    placed = await do(stack, "events.publish", topic=topic, type="Noted", key="a", data={"n": 1})
    assert await do(stack, "events.list", topic=topic) == [placed]
    assert follows(stack[1])
    async with open_offline(*stack, verb="events.tail") as tail:
        items = tail(topic=topic, since="1h")
        assert await anext(items) == placed
        await items.aclose()


def test_a_bus_in_memory_can_not_be_followed(folder: Any) -> None:
    assert not follows(read_config(folder, {}).profile())
    assert "events.tail" in NEEDS
