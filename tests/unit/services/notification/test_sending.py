"""POST /notifications/{id}/send: at once, once, and what happens when it can't be done."""

from __future__ import annotations

import asyncio

import pytest


async def send(client, made):
    return await client.post(f"/notifications/{made['id']}/send")


async def test_sending_says_when(harness, ana, write):
    """And the same is read afterwards."""
    made = await write(ana)
    answer = await send(ana, made)
    assert answer.status == 200
    assert answer.json() == made | {"status": "sent", "sent_at": "2026-01-01T00:00:01.000Z"}
    assert (await ana.get(f"/notifications/{made['id']}")).json() == answer.json()


async def test_sending_emits_who_was_told_but_not_what(harness, ana, write):
    """Keyed by the notification's id."""
    made = await write(ana)
    await send(ana, made)
    (event,) = await harness.emitted()
    assert (event.type, event.topic, event.key) == (
        "NotificationSentEvent",
        "notification.events",
        made["id"],
    )
    assert event.data == {
        "notification_id": made["id"],
        "user_id": "ana",
        "channel": "log",
        "sent_at": "2026-01-01T00:00:01.000Z",
    }


async def test_sending_again_answers_the_same_and_emits_nothing(harness, ana, write, caplog):
    """Nobody is told twice."""
    caplog.set_level("INFO", "micro.service.notification")
    made = await write(ana)
    first = await send(ana, made)
    await harness.clock.advance(60)
    second = await send(ana, made)
    assert (second.status, second.body) == (first.status, first.body)
    assert len(await harness.emitted()) == 1
    assert len(caplog.messages) == 1


async def test_the_log_channel_writes_one_line(ana, write, caplog):
    """With line breaks escaped, so that nobody can write a line of their own."""
    caplog.set_level("INFO", "micro.service.notification")
    made = await write(ana, subject="Hi", body="one\ntwo \x1b[31m")
    await send(ana, made)
    assert caplog.messages == [f"notification {made['id']} to ana: 'Hi' 'one\\ntwo \\x1b[31m'"]


async def test_an_admin_sends_anybody_s(ana, root, write):
    """It was perhaps they who wrote it."""
    made = await write(ana)
    assert (await send(root, made)).json()["status"] == "sent"


@pytest.mark.parametrize(
    ("channel", "target"), [("email", "ana@example.com"), ("webhook", "https://hooks.example/")]
)
async def test_a_channel_that_is_not_set_up_fails_for_good(harness, ana, write, channel, target):
    """409 with the reason; the notification has failed, nothing is emitted."""
    made = await write(ana, channel=channel, target=target)
    answer = await send(ana, made)
    assert answer.status == 409
    assert answer.json()["detail"] == f"Not delivered, given up: the channel {channel} is not set up."
    assert (await ana.get(f"/notifications/{made['id']}")).json()["status"] == "failed"
    assert await harness.emitted() == []


async def test_a_failed_one_can_be_sent_once_the_cause_is_mended(harness, ana, write, env, smtp):
    """Asking again tries again."""
    made = await write(ana, channel="email", target="ana@example.com")
    assert (await send(ana, made)).status == 409
    server = await smtp()
    env["MICRO_SMTP_URL"] = f"smtp://127.0.0.1:{server.port}?from=noreply@micro.test"
    assert (await send(ana, made)).json()["status"] == "sent"
    assert len(server.messages) == 1
    assert len(await harness.emitted()) == 1


async def test_what_may_help_later_stays_pending(ana, write, mail, row):
    """409 with the reason; the worker takes it from there."""
    mail.rcpt = "450 busy"
    made = await write(ana, channel="email", target="ana@example.com")
    answer = await send(ana, made)
    assert answer.status == 409
    assert answer.json()["detail"] == "Not delivered, to be tried again: the mail server answered 450."
    kept = await row(made["id"])
    assert (kept.status, kept.attempts, kept.claim, kept.sent_at) == ("pending", 1, None, None)
    assert kept.due_at > made["created_at"]


async def test_what_waits_for_a_retry_can_be_sent_at_once(ana, write, mail):
    """Nobody has to wait for the worker."""
    mail.rcpt = "450 busy"
    made = await write(ana, channel="email", target="ana@example.com")
    await send(ana, made)
    mail.rcpt = "250 OK"
    assert (await send(ana, made)).json()["status"] == "sent"


async def test_what_is_being_sent_is_not_sent_a_second_time(harness, ana, write, hook):
    """409 while the first is on its way; afterwards both agree."""
    hold = asyncio.Event()
    async with hook(hold=hold) as receiver:
        made = await write(ana, channel="webhook", target=f"http://127.0.0.1:{receiver.port}/")
        first = asyncio.create_task(send(ana, made))
        await receiver.arrived.wait()
        second = await send(ana, made)
        hold.set()
        assert (second.status, second.json()["detail"]) == (409, "It is being sent at this moment.")
        assert (await first).status == 200
        assert (await send(ana, made)).status == 200
    assert len(receiver.requests) == 1
    assert len(await harness.emitted()) == 1


async def test_ten_at_once_send_it_once(harness, ana, write, hook):
    """Whoever is not first is told so, or that it is done."""
    async with hook() as receiver:
        made = await write(ana, channel="webhook", target=f"http://127.0.0.1:{receiver.port}/")
        answers = await asyncio.gather(*(send(ana, made) for _ in range(10)))
    assert {answer.status for answer in answers} <= {200, 409}
    assert len(receiver.requests) == 1
    assert len(await harness.emitted()) == 1


async def test_deleted_while_it_is_being_sent_it_is_gone(harness, ana, write, hook):
    """It arrives, and nothing is emitted for what no longer exists."""
    hold = asyncio.Event()
    async with hook(hold=hold) as receiver:
        made = await write(ana, channel="webhook", target=f"http://127.0.0.1:{receiver.port}/")
        sending = asyncio.create_task(send(ana, made))
        await receiver.arrived.wait()
        assert (await ana.delete(f"/notifications/{made['id']}")).status == 204
        hold.set()
        await sending
    assert (await ana.get(f"/notifications/{made['id']}")).status == 404
    assert await harness.emitted() == []


async def test_a_sender_that_died_is_replaced_after_its_lease(harness, ana, write, hook):
    """Until then it may still be at work. The receiver knows the second attempt by its key."""
    hold = asyncio.Event()
    async with hook(hold=hold) as receiver:
        made = await write(ana, channel="webhook", target=f"http://127.0.0.1:{receiver.port}/")
        dying = asyncio.create_task(send(ana, made))
        await receiver.arrived.wait()
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        hold.set()
        assert (await send(ana, made)).status == 409
        await harness.clock.advance(60)
        assert (await send(ana, made)).status == 200
    keys = [headers["idempotency-key"] for _, headers, _ in receiver.requests]
    assert keys == [made["id"], made["id"]]
    assert len(await harness.emitted()) == 1
