"""Contract of statements: parameters, values, rows, named errors, and what is refused."""

# ruff: noqa: PT012 - a transaction's whole block is what raises

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from micro.errors import ConstraintViolation, StoreError, UniqueViolation
from micro.testing.store_fixtures import StoreFixtures, add_item, items, works

if TYPE_CHECKING:
    from micro.store.ports import Store, Value

_TEXTS = ["", "plain", "Grüße, 你好 🔑", 'it\'s "quoted" ?? -- no comment', "line\nbreak\ttab", "x" * 100_000]
_INTEGERS = [0, -1, 2**63 - 1, -(2**63)]
_FLOATS = [0.0, -0.1, 1e308, 5e-324, float("inf"), float("-inf")]


class StatementContract(StoreFixtures):
    """What `execute`, `query` and `script` promise."""

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            *(("name", text) for text in _TEXTS),
            *(("weight", number) for number in _FLOATS),
            *(("data", data) for data in (b"", bytes(range(256)))),
            *((column, None) for column in ("name", "weight", "data")),
        ],
    )
    async def test_a_value_comes_back_as_it_went_in(self, store: Store, column: str, value: Value) -> None:
        async with store.transaction() as tx:
            await tx.execute(f"insert into item (id, {column}) values ('a', ?)", value)  # noqa: S608 - a name above
        [row] = await store.query(f"select {column} from item")  # noqa: S608 - a name above
        assert row[column] == value
        assert type(row[column]) is type(value)

    @pytest.mark.parametrize("value", _INTEGERS)
    async def test_an_integer_of_64_bits_comes_back_as_it_went_in(self, store: Store, value: int) -> None:
        column = "n" if value >= 0 else "-n - 1"
        async with store.transaction() as tx:
            await tx.execute(
                "insert into item (id, n) values ('a', ?)", value if value >= 0 else -(value + 1)
            )
        [row] = await store.query(f"select {column} as n from item")  # noqa: S608 - a name above
        assert row["n"] == value

    async def test_a_row_gives_its_values_by_name_by_index_and_in_order(self, store: Store) -> None:
        async with store.transaction() as tx:
            await add_item(tx, "a", name="A")
        [row] = await store.query("select id, name as title, n from item")
        assert (row["id"], row["title"], row[2]) == ("a", "A", 0)
        assert list(row) == ["a", "A", 0]
        assert list(row.keys()) == ["id", "title", "n"]
        assert dict(row) == {"id": "a", "title": "A", "n": 0}

    async def test_execute_counts_the_rows_it_changed(self, store: Store) -> None:
        async with store.transaction() as tx:
            assert await tx.execute("insert into item (id) values ('a'), ('b')") == 2
            assert await tx.execute("update item set n = 1") == 2
            assert await tx.execute("update item set n = 2 where id = 'nobody'") == 0
            assert await tx.execute("insert into item (id) values ('c') returning id") == 1
            assert await tx.execute("delete from item where id = 'a'") == 1

    async def test_query_in_a_transaction_returns_what_a_write_returns(self, store: Store) -> None:
        async with store.transaction() as tx:
            rows = await tx.query("insert into item (id, n) values ('a', 1), ('b', 2) returning id, n")
            assert [(row["id"], row["n"]) for row in rows] == [("a", 1), ("b", 2)]
            assert await tx.query("update item set n = 3 where id = 'nobody' returning id") == []
        assert await items(store) == ["a", "b"]

    async def test_a_question_mark_in_a_string_a_name_or_a_comment_is_no_parameter(
        self, store: Store
    ) -> None:
        [row] = await store.query(
            """select '? ?? it''s' as one, cast(? as text) as "?" -- ? and ??
               /* ? */ , 'a' as two""",
            "given",
        )
        assert list(row) == ["? ?? it's", "given", "a"]
        assert list(row.keys()) == ["one", "?", "two"]

    async def test_a_taken_key_or_unique_value_is_a_unique_violation_with_its_cause(
        self, store: Store
    ) -> None:
        async with store.transaction() as tx:
            await add_item(tx, "a", name="A")
        for id, name in (("a", "B"), ("b", "A")):
            with pytest.raises(UniqueViolation) as caught:
                async with store.transaction() as tx:
                    await add_item(tx, id, name=name)
            assert caught.value.__cause__ is not None
        assert await items(store) == ["a"]

    @pytest.mark.parametrize(
        "columns", ["id, n) values ('a', -1", "id, n) values ('a', null", "id, parent) values ('a', 'nobody'"]
    )
    async def test_another_constraint_is_a_constraint_violation(self, store: Store, columns: str) -> None:
        with pytest.raises(ConstraintViolation):
            async with store.transaction() as tx:
                await tx.execute(f"insert into item ({columns})")

    @pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "nul \0", "\ud800 alone", float("nan")], ids=repr)
    async def test_a_value_that_no_column_keeps_is_a_constraint_violation(
        self, store: Store, value: Any
    ) -> None:
        column = {int: "n", str: "name", float: "weight"}[type(value)]
        with pytest.raises(ConstraintViolation):
            async with store.transaction() as tx:
                await tx.execute(f"insert into item (id, {column}) values ('a', ?)", value)  # noqa: S608 - a name above
        assert await items(store) == []
        await works(store)

    @pytest.mark.parametrize(
        "value", [True, object(), [1], datetime(2026, 1, 1, tzinfo=UTC), bytearray(b"x")], ids=repr
    )
    async def test_a_parameter_of_another_type_is_refused(self, store: Store, value: Any) -> None:
        with pytest.raises(StoreError):
            await store.query("select ? as x", value)
        with pytest.raises(StoreError):
            async with store.transaction() as tx:
                await tx.execute("update item set name = ?", value)

    @pytest.mark.parametrize("parameters", [(), ("a", "b")])
    async def test_a_wrong_number_of_parameters_is_refused(
        self, store: Store, parameters: tuple[str, ...]
    ) -> None:
        with pytest.raises(StoreError, match="parameter"):
            await store.query("select * from item where id = ?", *parameters)

    @pytest.mark.parametrize("sql", ["selec 1", "select * from nowhere", "select 1; select 2", "select ?1"])
    async def test_a_statement_that_can_not_run_is_a_store_error(self, store: Store, sql: str) -> None:
        with pytest.raises(StoreError):
            await store.query(sql, *["1"] * sql.count("?"))
        await works(store)

    @pytest.mark.parametrize(
        "sql",
        [
            "insert into item (id) values ('a')",
            "insert into item (id) values ('a') returning id",
            "update item set n = 1",
            "delete from item",
            "drop table entry",
            "create table other (id text)",
        ],
    )
    async def test_a_query_outside_a_transaction_that_writes_is_refused(self, store: Store, sql: str) -> None:
        async with store.transaction() as tx:
            await add_item(tx, "z")
        with pytest.raises(StoreError):
            await store.query(sql)
        assert [tuple(row) for row in await store.query("select id, n from item")] == [("z", 0)]
        assert await store.query("select * from entry") == []

    @pytest.mark.parametrize("sql", ["commit", "rollback", "begin", "savepoint x", "/* sly */ COMMIT", "end"])
    async def test_a_statement_that_would_end_or_begin_a_transaction_is_refused(
        self, store: Store, sql: str
    ) -> None:
        for how in ("execute", "query", "script"):
            with pytest.raises(StoreError):
                async with store.transaction() as tx:
                    await add_item(tx, "a")
                    await getattr(tx, how)(sql)
        assert await items(store) == []
        await works(store)

    async def test_a_script_runs_its_statements_in_order(self, store: Store) -> None:
        async with store.transaction() as tx:
            await tx.script(
                """insert into item (id, name) values ('a', 'x;y'); -- a comment; with a semicolon
                   /* and another; */ insert into item (id, parent) values ('b', 'a') ;
                   update item set n = 7 where id = 'b'"""
            )
        rows = await store.query("select id, name, n from item order by id")
        assert [tuple(row) for row in rows] == [("a", "x;y", 0), ("b", None, 7)]

    @pytest.mark.parametrize("sql", ["", " ;; ", "-- nothing"])
    async def test_a_script_without_statements_does_nothing(self, store: Store, sql: str) -> None:
        async with store.transaction() as tx:
            await tx.script(sql)
        await works(store)

    async def test_a_script_that_fails_takes_its_transaction_with_it(self, store: Store) -> None:
        with pytest.raises(UniqueViolation):
            async with store.transaction() as tx:
                await tx.script("create table extra (id text); insert into item (id) values ('a'), ('a')")
        assert await items(store) == []
        with pytest.raises(StoreError):
            await store.query("select * from extra")
