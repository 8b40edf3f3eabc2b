"""The shipped suites are not empty words: a backend that breaks its promise fails, one that promises less is skipped."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from micro.cache.memory import MemoryCache
from micro.cache.ports import Hit
from micro.clock import SystemClock
from micro.errors import StoreError
from micro.store.journal import SqliteJournal
from micro.store.sqlite import SqliteStore
from micro.store.sqlite_transaction import SqliteTransaction
from micro.testing import CacheContract, FakeClock, JournalContract, StoreContract, WindowContract
from micro.testing.store_fixtures import TABLES


@pytest.fixture
async def store(tmp_path):
    store = SqliteStore(f"sqlite:{tmp_path}/it.db", clock=SystemClock())
    await store.open()
    async with store.transaction() as tx:
        await tx.script(TABLES["sqlite"])
    yield store
    await store.close()


class TestStoreContract:
    @pytest.mark.parametrize(
        ("method", "name"),
        [
            ("execute", "test_after_a_failed_statement_every_other_is_refused"),
            ("execute", "test_a_failed_statement_can_not_be_swallowed"),
        ],
    )
    async def test_a_transaction_that_goes_on_after_an_error_is_caught(
        self, store, monkeypatch, method, name
    ):
        original = getattr(SqliteTransaction, method)

        async def forgiving(tx, *arguments):
            try:
                return await original(tx, *arguments)
            finally:
                tx._refusal = None

        monkeypatch.setattr(SqliteTransaction, method, forgiving)
        with pytest.raises(pytest.fail.Exception):
            await getattr(StoreContract(), name)(store)

    async def test_a_rollback_that_commits_is_caught(self, store, monkeypatch):
        commit_anyway = SqliteTransaction.commit

        @asynccontextmanager
        async def transaction(**_):
            async with SqliteStore.transaction(store) as tx:
                try:
                    yield tx
                finally:
                    await commit_anyway(tx)

        monkeypatch.setattr(store, "transaction", transaction)
        with pytest.raises(AssertionError):
            await StoreContract().test_an_exception_rolls_everything_back_and_comes_out_unchanged(store)

    async def test_statements_of_the_commit_that_run_at_once_are_caught(self, store, monkeypatch):
        def eager(tx, sql, *parameters, ordered_by=None):
            tx._begun = True
            tx._file.write_later(lambda connection: connection.execute("begin immediate"))
            tx._file.write_later(lambda connection: connection.execute(sql, parameters))

        monkeypatch.setattr(SqliteTransaction, "at_commit", eager)
        with pytest.raises(AssertionError, match="after everything else"):
            await StoreContract().test_statements_of_the_commit_and_the_state_are_stored_together(store)

    async def test_statements_of_the_commit_that_outlive_a_rollback_are_caught(self, store, monkeypatch):
        def outside(tx, sql, *parameters, ordered_by=None):
            tx._file.write_later(lambda connection: connection.execute(sql, parameters))

        monkeypatch.setattr(SqliteTransaction, "at_commit", outside)
        with pytest.raises(AssertionError):
            await StoreContract().test_statements_of_the_commit_are_gone_with_a_rollback(store)

    async def test_a_time_limit_that_is_not_kept_is_caught(self, store, monkeypatch):
        monkeypatch.setattr(store, "transaction", lambda **_: SqliteStore.transaction(store, timeout=0.05))
        suite = StoreContract()
        await suite.test_a_transaction_that_outlives_its_limit_is_rolled_back(store)
        monkeypatch.setattr(
            "micro.store.sqlite.TransactionTimeout", type("Unnamed", (StoreError,), {}), raising=True
        )
        with pytest.raises(StoreError):
            await suite.test_a_transaction_that_outlives_its_limit_is_rolled_back(store)

    @pytest.mark.parametrize(
        ("feature", "name"),
        [
            ("concurrent_writers", "test_two_writers_of_different_rows_do_not_wait_for_each_other"),
            ("shared_by_processes", "test_a_second_user_of_the_database_sees_what_the_first_committed"),
        ],
    )
    async def test_what_is_not_promised_is_skipped_by_name(self, store, feature, name):
        arguments = (store, None) if feature == "shared_by_processes" else (store,)
        with pytest.raises(pytest.skip.Exception, match=f"not promised: {feature}"):
            await getattr(StoreContract(), name)(*arguments)

    async def test_what_is_promised_is_tested(self, store, monkeypatch):
        """SQLite with PostgreSQL's promises fails PostgreSQL's tests."""
        promises = replace(SqliteStore.features, concurrent_writers=True, shared_by_processes=True)
        monkeypatch.setattr(SqliteStore, "features", promises)
        suite = StoreContract()
        with pytest.raises(StoreError):
            await suite.test_two_writers_of_different_rows_do_not_wait_for_each_other(store)
        with pytest.raises(pytest.skip.Exception, match="promised: shared_by_processes"):
            await suite.test_a_second_user_of_the_database_is_turned_away(store, None)


class TestCacheContracts:
    async def test_a_fixed_window_is_caught(self):
        """Counting per calendar period lets twice the limit through around its edge."""
        clock = FakeClock()

        class Fixed(MemoryCache):
            def hit(self, key, limit, period):
                number = int(clock.monotonic() // period)
                return MemoryCache.hit(self, f"{key} {number}", limit, 1e9)

        with pytest.raises(AssertionError):
            await WindowContract().test_the_window_slides_with_the_hits(
                Fixed("memory:", clock=clock), "k", clock
            )

    async def test_counting_refused_hits_is_caught(self):
        clock = FakeClock()

        class Strict(MemoryCache):
            def hit(self, key, limit, period):
                hit = MemoryCache.hit(self, key, limit + 1000, period)
                return Hit(allowed=hit.remaining >= 1000, remaining=0, reset=hit.reset)

        with pytest.raises(AssertionError):
            await WindowContract().test_a_refused_hit_is_not_counted(
                Strict("memory:", clock=clock), "k", clock
            )

    async def test_a_window_that_answers_later_is_waited_for(self):
        class Later(MemoryCache):
            async def hit(self, key, limit, period):
                return MemoryCache.hit(self, key, limit, period)

        await WindowContract().test_the_limit_is_allowed_and_no_more(Later("memory:", clock=FakeClock()), "k")

    async def test_counting_quotas_one_after_the_other_is_caught(self):
        """What a later one refuses has been counted by an earlier one."""

        class Careless(MemoryCache):
            def hit_all(self, quotas):
                return [self.hit(*quota) for quota in quotas]

        with pytest.raises(AssertionError):
            await WindowContract().test_what_one_quota_refuses_counts_against_none(
                Careless("memory:", clock=FakeClock()), "k"
            )

    async def test_looking_first_and_counting_later_is_caught(self):
        """Between the two steps others have looked, too."""

        class Racing(MemoryCache):
            async def hit_all(self, quotas):
                hits = [
                    MemoryCache.hit(self, f"look {key}", limit + 1000, period)
                    for key, limit, period in quotas
                ]
                await asyncio.sleep(0)  # noqa: TID251 # no time passes: others take their turn
                free = [hit.remaining >= 1000 for hit in hits]
                return [
                    MemoryCache.hit(self, *q) if all(free) else hit
                    for q, hit in zip(quotas, hits, strict=True)
                ]

        with pytest.raises(AssertionError):
            await WindowContract().test_requests_at_the_same_moment_are_counted_by_all_quotas_or_by_none(
                Racing("memory:", clock=FakeClock()), "k"
            )

    async def test_several_quotas_that_are_answered_later_are_waited_for(self):
        class Later(MemoryCache):
            async def hit_all(self, quotas):
                return MemoryCache.hit_all(self, quotas)

        await WindowContract().test_several_quotas_count_one_request_each(
            Later("memory:", clock=FakeClock()), "k"
        )

    async def test_reading_that_prolongs_a_value_is_caught(self):
        clock = FakeClock()

        class Prolonging(MemoryCache):
            async def get(self, key):
                value = await MemoryCache.get(self, key)
                if value is not None:
                    await self.set(key, value, ttl=2)
                return value

        with pytest.raises(AssertionError):
            await CacheContract().test_a_value_is_gone_after_its_time_to_live(
                Prolonging("memory:", clock=clock), "k", clock
            )

    async def test_a_shared_cache_that_shares_nothing_is_caught(self):
        clock = FakeClock()

        class Boasting(MemoryCache):
            features = replace(MemoryCache.features, shared_by_processes=True)

        with pytest.raises(AssertionError):
            await CacheContract().test_another_user_sees_the_same_values(
                Boasting("memory:", clock=clock), "k", lambda: Boasting("memory:", clock=clock)
            )

    async def test_a_suite_that_goes_by_the_machine_s_clock_really_waits(self):
        suite = WindowContract()
        suite.second = 0.01
        clock = SystemClock()
        begin = clock.monotonic()
        await suite.elapse(clock, 2)
        assert clock.monotonic() - begin >= 0.019


class TestJournalContract:
    async def test_a_journal_that_forgets_the_end_is_caught(self, tmp_path):
        class Forgetful(SqliteJournal):
            async def load(self, *, keep_since):
                state = await SqliteJournal.load(self, keep_since=keep_since)
                return replace(state, bounds={p: b for p, b in state.bounds.items() if b.start < b.end})

        def make():
            return Forgetful(tmp_path / "bus.db")

        journal = make()
        await journal.open()
        with pytest.raises(AssertionError):
            await JournalContract().test_the_end_of_a_partition_outlives_its_records(journal, make)
        await journal.close()


@pytest.mark.parametrize("suite", [StoreContract, CacheContract, WindowContract, JournalContract])
def test_a_suite_without_a_backend_says_which_fixture_to_give(suite):
    for name in ("make", "unreachable"):
        fixture = getattr(suite, name, None)
        if fixture is not None:
            with pytest.raises(NotImplementedError, match=f"give a fixture named {name}"):
                fixture.__wrapped__(suite())
