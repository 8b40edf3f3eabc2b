"""The background worker: what it takes, when it tries again, and that several of them don't send twice."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

import pytest

from micro.services.notification import delivery
from micro.services.notification.delivery import AT_ONCE, LEASE
from micro.services.notification.domain import ATTEMPTS, LONGEST_PAUSE
from micro.services.notification.service import post


def sent(harness, count=1):
    async def check():
        return len(await harness.emitted("NotificationSentEvent")) >= count

    return check


async def attempt(harness):
    """One attempt at what is due, as the worker makes it."""
    claimed = await post(harness.micro).claim()
    return await post(harness.micro).deliver(claimed) if claimed else None


@pytest.fixture
def due(harness, ana, write):
    """Writes a notification that is due for the worker."""

    async def due(**form):
        made = await write(ana, **form)
        async with harness.micro.transaction() as tx:
            await tx.execute(
                "update notifications set due_at = ? where id = ?", made["created_at"], made["id"]
            )
        return made

    return due


async def test_a_consumed_event_s_notification_is_sent_by_the_worker(harness, ana, registered, worker):
    """Without anybody asking."""
    worker.start()
    await registered()
    await worker.until(sent(harness))
    (item,) = (await ana.get("/notifications")).json()["items"]
    assert (item["channel"], item["status"]) == ("log", "sent")


async def test_what_a_person_wrote_waits_for_them(harness, ana, registered, write, worker):
    """The worker leaves it alone until it is asked for."""
    made = await write(ana)
    worker.start()
    await registered()
    await worker.until(sent(harness))
    assert (await ana.get(f"/notifications/{made['id']}")).json()["status"] == "pending"


async def test_with_a_mail_server_an_event_is_told_by_e_mail(harness, ana, registered, mail):
    """To the address that the same event told; the notification then says so."""
    await registered()
    await attempt(harness)
    assert [message["to"] for message in mail.messages] == ["ana@example.com"]
    (item,) = (await ana.get("/notifications")).json()["items"]
    assert (item["channel"], item["target"], item["status"]) == ("email", None, "sent")
    (event,) = await harness.emitted()
    assert event.data["channel"] == "email"


async def test_what_a_person_wrote_for_the_log_stays_in_the_log(harness, due, mail):
    """Only what nobody chose a channel for goes by e-mail."""
    await due()
    await attempt(harness)
    assert mail.messages == []


async def test_what_failed_is_tried_again_later(harness, due, mail, worker):
    """And sent when it can be."""
    mail.rcpt = "450 busy"
    made = await due(channel="email", target="ana@example.com")
    after = await attempt(harness)
    assert (after.status, after.attempts, after.error) == ("pending", 1, "the mail server answered 450")
    assert await attempt(harness) is None
    mail.rcpt = "250 OK"
    worker.start()
    await worker.until(sent(harness))
    assert [message["message-id"] for message in mail.messages] == [f"<{made['id']}@micro.test>"]


async def test_pauses_grow_and_end(harness, due, mail):
    """After the last attempt it has failed: it is never due again, and nothing was emitted."""
    mail.rcpt = "450 busy"
    made = await due(channel="email", target="ana@example.com")
    bounds = []
    for number in range(1, ATTEMPTS + 1):
        before = harness.clock.now()
        after = await attempt(harness)
        assert (after.id, after.attempts) == (made["id"], number)
        bounds.append(min(LONGEST_PAUSE, 2.0 * 2**number))
        if after.due_at:
            waits = (datetime.fromisoformat(after.due_at) - before).total_seconds()
            assert 0 <= waits <= bounds[-1]
        await harness.clock.advance(LONGEST_PAUSE)
    assert after.status == "failed"
    assert await attempt(harness) is None
    assert await harness.emitted() == []


async def test_two_that_failed_together_are_not_tried_together(harness, due, mail):
    """Jitter."""
    mail.rcpt = "450 busy"
    for _ in range(2):
        await due(channel="email", target="ana@example.com")
    first, second = await attempt(harness), await attempt(harness)
    assert first.id != second.id
    assert first.due_at != second.due_at


async def test_what_is_claimed_is_nobody_else_s_until_the_lease_ends(harness, due, row):
    """A second worker finds nothing; after the lease it takes over, and the first is told that it lost."""
    made = await due()
    slow, quick = post(harness.micro), post(harness.micro)
    claimed = await slow.claim()
    assert await quick.claim() is None
    await harness.clock.advance(LEASE)
    taken_over = await quick.claim()
    assert (taken_over.id, taken_over.attempts) == (made["id"], 2)
    await slow.deliver(claimed)
    assert await harness.emitted() == []
    assert (await row(made["id"])).claim == taken_over.claim
    await quick.deliver(taken_over)
    assert len(await harness.emitted()) == 1


async def test_of_ten_who_claim_at_once_one_gets_it(harness, due):
    """In one conditional statement."""
    await due()
    claims = await asyncio.gather(*(post(harness.micro).claim() for _ in range(10)))
    assert sum(claim is not None for claim in claims) == 1


async def test_the_one_that_has_waited_longest_comes_first(harness, due):
    """By the time it was due."""
    made = [await due() for _ in range(3)]
    claimed = [(await post(harness.micro).claim()).id for _ in range(3)]
    assert claimed == [each["id"] for each in made]


async def test_two_workers_send_each_notification_once(harness, due, worker, hook):
    """However many there are."""
    async with hook() as receiver:
        made = [await due(channel="webhook", target=f"http://127.0.0.1:{receiver.port}/") for _ in range(12)]
        worker.start()
        worker.start()
        await worker.until(sent(harness, 12))
    keys = [headers["idempotency-key"] for _, headers, _ in receiver.requests]
    assert sorted(keys) == sorted(each["id"] for each in made)


async def test_a_slow_receiver_holds_up_nobody_else(harness, due, worker, hook):
    """As long as fewer are slow than are sent at once."""
    hold = asyncio.Event()
    async with hook(hold=hold) as receiver:
        for _ in range(AT_ONCE - 1):
            await due(channel="webhook", target=f"http://127.0.0.1:{receiver.port}/")
        worker.start()
        quick = await due()
        await worker.until(sent(harness))
        (event,) = await harness.emitted()
        assert event.data["notification_id"] == quick["id"]
        hold.set()
        await worker.until(sent(harness, AT_ONCE))


async def test_no_more_than_a_few_are_sent_at_once(harness, due, worker, hook):
    """The others stay unclaimed, so another replica can take them."""
    hold = asyncio.Event()
    async with hook(hold=hold) as receiver:
        for _ in range(AT_ONCE + 2):
            await due(channel="webhook", target=f"http://127.0.0.1:{receiver.port}/")
        worker.start()

        async def full():
            return receiver.connections >= AT_ONCE

        await worker.until(full)
        (claimed,) = await harness.micro.query(
            "select count(*) as n from notifications where claim is not null"
        )
        assert (claimed["n"], receiver.connections) == (AT_ONCE, AT_ONCE)
        hold.set()
        await worker.until(sent(harness, AT_ONCE + 2))


async def test_an_attempt_that_takes_too_long_is_given_up(harness, due, hook, monkeypatch):
    """After the limit, which is short here; it is tried again."""
    monkeypatch.setattr(delivery, "LIMIT", 0.05)
    async with hook(hold=asyncio.Event()) as receiver:
        await due(channel="webhook", target=f"http://127.0.0.1:{receiver.port}/")
        after = await attempt(harness)
    assert (after.status, after.error) == ("pending", "it took too long")


async def test_a_fault_of_a_channel_costs_one_attempt_and_is_logged(harness, due, caplog):
    """The others, and the worker, go on."""

    class Broken:
        async def deliver(self, notification):
            raise ZeroDivisionError

    await due()
    office = post(harness.micro)
    office.channels["log"] = Broken()
    after = await office.deliver(await office.claim())
    assert (after.status, after.error) == ("pending", "an unexpected error")
    assert "ZeroDivisionError" in caplog.text


async def test_a_stopped_worker_leaves_its_work_to_the_next(harness, due, worker, hook):
    """Shut down in the middle of an attempt: sent again after the lease, under the same key."""
    async with hook(hold=asyncio.Event()) as receiver:
        made = await due(channel="webhook", target=f"http://127.0.0.1:{receiver.port}/")
        worker.start()
        await receiver.arrived.wait()
        await worker.stop()
    assert await harness.emitted() == []
    await harness.clock.advance(LEASE)
    async with hook() as receiver:
        async with harness.micro.transaction() as tx:
            await tx.execute("update notifications set target = ?", f"http://127.0.0.1:{receiver.port}/")
        worker.start()
        await worker.until(sent(harness))
    assert [headers["idempotency-key"] for _, headers, _ in receiver.requests] == [made["id"]]


async def test_an_idle_worker_reads_by_index(plan):
    """It asks twice a second."""
    from micro.services.notification.infrastructure import ANY_DUE

    sql = f"select 1 from notifications where {ANY_DUE}"  # noqa: S608 # the service's own
    steps = await plan(sql, "x", "x")
    assert not any(step.startswith("SCAN") or "Seq Scan" in step for step in steps)


async def cause_of_sending(harness):
    (event,) = await harness.emitted("NotificationSentEvent")
    return event.correlation_id, event.causation_id, event.traceparent[3:35]


async def test_what_an_event_led_to_is_known_to_be_caused_by_it(harness, registered, worker):
    """Though a row and a worker lie between them."""
    worker.start()
    event = await registered()
    await worker.until(sent(harness))
    assert await cause_of_sending(harness) == (event.correlation_id, event.id, event.traceparent[3:35])


async def test_a_request_to_send_is_the_cause_also_when_the_worker_succeeds_in_its_place(
    harness, ana, write, hook, worker
):
    async with hook(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") as receiver:
        made = await write(ana, channel="webhook", target=f"http://127.0.0.1:{receiver.port}/")
        (written,) = await harness.micro.query("select context from notifications")
        assert (await ana.post(f"/notifications/{made['id']}/send")).status == 409
    (asked,) = await harness.micro.query("select context from notifications")
    assert json.loads(asked["context"])[1] != json.loads(written["context"])[1], "another request"
    async with harness.micro.transaction() as tx:
        await tx.execute("update notifications set channel = 'log'")
    worker.start()
    await worker.until(sent(harness))
    correlation, causation, trace = json.loads(asked["context"])
    assert await cause_of_sending(harness) == (correlation, causation, trace[3:35])
