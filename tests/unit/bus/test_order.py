"""Whatever fails how often and when: each event is applied once, in order per key."""

from __future__ import annotations

from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micro.bus import migrations
from micro.bus.codec import encode
from micro.bus.delivery import Delivery
from micro.bus.intake import Intake
from micro.bus.letters import Letters
from micro.bus.message import Partition, Record
from micro.bus.origin import Origin
from micro.bus.outbox import Outbox
from micro.bus.parking import Parking
from micro.bus.subscriber import Subscriber
from micro.service import Retry, Service
from micro.store.migrate import load_migrations, migrate
from micro.testing import FakeClock

_numbers = count(1)
PART = Partition("order.events", 0)

plans = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 6)), min_size=1, max_size=25
)  # per event its key, and how often its handler fails
steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 8)),
        st.tuples(st.just("again"), st.integers(1, 8)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 2.0, 60.0])),
        st.tuples(st.just("redrive"), st.just(0)),
    ),
    max_size=25,
)


class Run:
    """A subscriber whose handler fails as the plan says, on a file of its own."""

    def __init__(self, plan, store, clock):
        self.clock, self.store = clock, store
        self.left = [times for _, times in plan]
        service = Service("crm")
        service.on("OrderPlaced", topic="order.events", retry=Retry(attempts=3, base=0.5, cap=10.0))(
            self.handle
        )
        outbox = Outbox("crm", clock=clock, max_bytes=1_000_000, publishes=[])
        self.subscriber = Subscriber("crm", service.handlers, store=store, outbox=outbox, clock=clock)
        self.intake, self.parking = Intake(self.subscriber), Parking(self.subscriber)
        self.log = [delivery(clock, n, key) for n, (key, _) in enumerate(plan)]
        self.fetched = 0

    async def handle(self, event, tx):
        n = event.data["n"]
        await tx.execute("insert into applied (n) values (?)", n)
        if self.left[n]:
            self.left[n] -= 1
            raise ValueError(f"number {n}")

    async def take(self, amount):
        """Deliver what is next in the log."""
        batch = self.log[self.fetched : self.fetched + amount]
        self.fetched += len(batch)
        if batch:
            await self.intake.take(batch)

    async def again(self, amount):
        """Deliver once more what came last."""
        if batch := self.log[max(0, self.fetched - amount) : self.fetched]:
            await self.intake.take(batch)

    async def wait(self, seconds):
        await self.clock.advance(seconds)
        await self.parking.retry_due()

    async def redrive(self, _):
        async for _ in self.parking.replay(Letters(every=True)):
            pass

    async def finish(self):
        """Deliver the rest, and see to every dead letter until none is left."""
        await self.take(len(self.log))
        while await self.subscriber.parked.counts() != (0, 0):
            await self.wait(20)
            await self.redrive(0)
        return [row[0] for row in await self.store.query("select n from applied order by seq")]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans, steps=steps)
async def test_random_failures_redeliveries_and_redrives(open_database, spelled, plan, steps):
    clock = FakeClock()
    store = await open_database(f"crm{next(_numbers)}", clock)
    try:
        own = load_migrations(migrations.FOLDER, store.dialect)
        await migrate(store, own, namespace="micro", clock=clock)
        async with store.transaction() as tx:
            sql = "create table applied (seq integer primary key, n integer) strict"
            await tx.script(spelled(sql, store))
        run = Run(plan, store, clock)
        for step, amount in steps:
            await getattr(run, step)(amount)
        applied = await run.finish()
        assert list(await store.query("select 1 from micro_blocked")) == [], "no key stays blocked"
    finally:
        await store.close()
    assert sorted(applied) == list(range(len(plan))), "each once"
    for key in "abc":
        mine = [n for n in applied if plan[n][0] == key]
        assert mine == sorted(mine), "in order per key"


def delivery(clock, n, key):
    event = Origin("shop", clock).event("order.events", "OrderPlaced", {"n": n}, key=key)
    return Delivery.of(Record(PART, n, encode(event), 0.0))
