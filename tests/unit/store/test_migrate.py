"""Migration files: how they are read, and what is said when they don't fit the database."""

from __future__ import annotations

import pytest

from micro.clock import SystemClock
from micro.errors import MigrationError, StoreUnavailable
from micro.store.migrate import load_migrations, migrate, status
from micro.testing import FakeClock


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "migrations"
    folder.mkdir()
    return folder


def write(folder, **files):
    """Write files, named without their ending; `__` stands for a full stop."""
    for name, sql in files.items():
        (folder / f"{name.removeprefix('_').replace('__', '.')}.sql").write_text(sql)


async def run(store, folder, *, namespace="shop"):
    return await migrate(store, load_migrations(folder, "sqlite"), namespace=namespace, clock=FakeClock())


class TestLoading:
    def test_files_are_read_in_the_order_of_their_numbers(self, folder):
        write(folder, _0002_more="two", _0001_start="one", _0010_x="", _0003_x="")
        (folder / "0010_x.sql").rename(folder / "0004_last_one.sql")
        (folder / "README.md").write_text("not SQL")
        migrations = load_migrations(folder, "sqlite")
        assert [(one.number, one.name, one.sql) for one in migrations[:2]] == [
            (1, "start", "one"),
            (2, "more", "two"),
        ]
        assert [one.label for one in migrations] == ["0001_start", "0002_more", "0003_x", "0004_last_one"]

    def test_an_empty_folder_holds_none(self, folder):
        assert load_migrations(folder, "sqlite") == []

    def test_a_twin_is_read_for_its_dialect_only(self, folder):
        write(folder, _0001_start="base", _0001_start__postgresql="twin", _0002_more="both")
        assert [one.sql for one in load_migrations(folder, "sqlite")] == ["base", "both"]
        assert [one.sql for one in load_migrations(folder, "postgresql")] == ["twin", "both"]
        assert [one.name for one in load_migrations(folder, "postgresql")] == ["start", "more"]

    def test_the_checksum_follows_the_text_and_not_its_line_ends(self, folder):
        (folder / "0001_a.sql").write_bytes(b"select 1;\nselect 2;\n")
        (folder / "0002_b.sql").write_bytes(b"select 1;\r\nselect 2;\r\n")
        (folder / "0003_c.sql").write_bytes(b"select 1;\nselect 3;\n")
        unix, windows, other = (one.checksum for one in load_migrations(folder, "sqlite"))
        assert unix == windows != other
        assert len(unix) == 64

    @pytest.mark.parametrize(
        ("files", "says"),
        [
            ({"1_short": ""}, "call it 0001_name.sql"),
            ({"0001-dash": ""}, "call it 0001_name.sql"),
            ({"0001_Upper": ""}, "call it 0001_name.sql"),
            ({"0001_a__mysql": ""}, "call it 0001_name.sql"),
            ({"0001_a": "", "0001_b": ""}, "same number as 0001_a.sql"),
            ({"0001_a": "", "0003_c": ""}, "number 0002 is missing"),
            ({"0002_b": ""}, "number 0001 is missing"),
            ({"0000_a": ""}, "number 0001 is missing"),
            ({"0001_a": "", "0002_b__postgresql": ""}, "no 0002_b.sql beside it"),
        ],
    )
    def test_files_that_do_not_fit_together_are_refused(self, folder, files, says):
        write(folder, **files)
        with pytest.raises(MigrationError, match=says) as caught:
            load_migrations(folder, "sqlite")
        assert str(folder) in str(caught.value)

    def test_a_missing_folder_is_refused(self, folder):
        with pytest.raises(MigrationError, match="no such folder"):
            load_migrations(folder / "nowhere", "sqlite")

    def test_a_file_that_is_not_text_is_refused(self, folder):
        (folder / "0001_a.sql").write_bytes(b"\xff\xfe")
        with pytest.raises(MigrationError, match=r"0001_a\.sql: is not UTF-8"):
            load_migrations(folder, "sqlite")


class TestApplying:
    async def test_pending_files_are_applied_and_noted(self, store, folder):
        write(folder, _0001_start="create table a (id text);", _0002_more="create table b (id text);")
        assert [one.number for one in await run(store, folder)] == [1, 2]
        rows = await store.query(
            "select namespace, number, name, applied_at from micro_migrations order by number"
        )
        assert [tuple(row) for row in rows] == [
            ("shop", 1, "start", "2026-01-01T00:00:00.000Z"),
            ("shop", 2, "more", "2026-01-01T00:00:00.000Z"),
        ]
        assert await run(store, folder) == []

    async def test_no_files_at_all_is_no_error(self, store, folder):
        assert await run(store, folder) == []
        assert await status(store, [], namespace="shop") == []

    async def test_namespaces_do_not_disturb_each_other(self, store, folder, tmp_path):
        write(folder, _0001_start="create table a (id text);")
        other = tmp_path / "other"
        other.mkdir()
        write(other, _0001_begin="create table b (id text);")
        await run(store, folder)
        assert [one.name for one in await run(store, other, namespace="micro")] == ["begin"]
        assert await run(store, folder) == []

    async def test_before_the_first_run_everything_is_pending_and_nothing_is_created(self, store, folder):
        write(folder, _0001_start="create table a (id text);")
        [state] = await status(store, load_migrations(folder, "sqlite"), namespace="shop")
        assert (state.migration.name, state.applied_at) == ("start", None)
        assert [
            row["name"] for row in await store.query("select name from sqlite_master where type = 'table'")
        ] == ["item"]

    async def test_an_edited_file_is_named_with_what_to_do(self, store, folder):
        write(folder, _0001_start="create table a (id text);")
        await run(store, folder)
        write(folder, _0001_start="create table a (id text, more text);")
        with pytest.raises(
            MigrationError, match=r"shop: 0001_start\.sql was edited .* put the change into a new file"
        ):
            await run(store, folder)

    async def test_a_file_that_is_gone_is_named_with_what_to_do(self, store, folder):
        write(folder, _0001_start="create table a (id text);", _0002_more="create table b (id text);")
        await run(store, folder)
        (folder / "0002_more.sql").unlink()
        with pytest.raises(
            MigrationError, match=r"0002_more\.sql was applied to this database and is gone; bring"
        ):
            await run(store, folder)

    async def test_a_file_numbered_below_an_applied_one_is_named_with_what_to_do(self, store, folder):
        write(folder, _0001_a="", _0002_b="", _0003_c="")
        migrations = load_migrations(folder, "sqlite")
        await migrate(store, [migrations[0], migrations[2]], namespace="shop", clock=FakeClock())
        with pytest.raises(
            MigrationError, match=r"0002_b\.sql is new, but 0003 was applied before; renumber it to 0004"
        ):
            await migrate(store, migrations, namespace="shop", clock=FakeClock())

    @pytest.mark.parametrize(
        ("sql", "says"),
        [
            ("create table b (id text); insert into nowhere values (1)", "no such table: nowhere"),
            ("create table b (id text); commit;", "COMMIT is the store's business"),
            ("create table b (id text); select ?", "parameter"),
        ],
    )
    async def test_a_failing_file_is_named_and_leaves_nothing_behind(self, store, folder, sql, says):
        write(
            folder,
            _0001_start="create table a (id text);",
            _0002_bad=sql,
            _0003_never="create table c (id text)",
        )
        with pytest.raises(
            MigrationError, match=f"0002_bad.sql failed and left nothing behind: .*{says}.*; mend"
        ):
            await run(store, folder)
        tables = [
            row["name"] for row in await store.query("select name from sqlite_master where type = 'table'")
        ]
        assert sorted(tables) == ["a", "item", "micro_migrations"]
        write(folder, _0002_bad="create table b (id text);")
        assert [one.number for one in await run(store, folder)] == [2, 3]

    async def test_a_store_that_goes_away_is_not_blamed_on_the_file(self, store, folder, monkeypatch):
        write(folder, _0001_start="create table a (id text);")
        transaction = store.transaction

        class Unplugged:
            def __init__(self, inner):
                self._inner = inner

            def __getattr__(self, name):
                return getattr(self._inner, name)

            async def script(self, sql):
                raise StoreUnavailable("unplugged")

        class Entered:
            def __init__(self, **options):
                self._inner = transaction(**options)

            async def __aenter__(self):
                return Unplugged(await self._inner.__aenter__())

            async def __aexit__(self, *error):
                return await self._inner.__aexit__(*error)

        monkeypatch.setattr(store, "transaction", Entered)
        with pytest.raises(StoreUnavailable, match="unplugged"):
            await run(store, folder)

    async def test_what_was_applied_is_there_after_reopening(self, store, folder, path):
        from micro.store.sqlite import SqliteStore

        write(folder, _0001_start="create table a (id text);")
        await run(store, folder)
        await store.close()
        again = SqliteStore(f"sqlite:{path}", clock=SystemClock())
        await again.open()
        assert await run(again, folder) == []
        await again.close()
