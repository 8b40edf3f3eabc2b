"""Webhooks: what the receiver gets, how it can trust it, and what its answers mean."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest


async def send(client, made):
    return await client.post(f"/notifications/{made['id']}/send")


@pytest.fixture
def written(ana, write):
    """Writes a notification to a receiver."""

    async def written(receiver, path="/hook"):
        target = f"http://127.0.0.1:{receiver.port}{path}"
        return await write(ana, channel="webhook", target=target, body="Wie geht's? Größe: 5 €")

    return written


async def test_the_receiver_gets_the_notification_as_json(ana, written, hook):
    """At the very path and query of the target."""
    async with hook() as receiver:
        made = await written(receiver, "/hook?key=a%2Fb")
        assert (await send(ana, made)).json()["status"] == "sent"
    ((line, headers, body),) = receiver.requests
    assert line == "POST /hook?key=a%2Fb HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {
        "type": "notification",
        "timestamp": made["created_at"],
        "data": {
            "id": made["id"],
            "user_id": "ana",
            "subject": "Hello",
            "body": "Wie geht's? Größe: 5 €",
        },
    }


async def test_the_receiver_can_verify_who_sent_it_and_when(harness, ana, written, hook):
    """HMAC-SHA256 over id, time and body, as standardwebhooks.com writes it."""
    async with hook() as receiver:
        made = await written(receiver)
        sent_at = int(harness.clock.now().timestamp())
        await send(ana, made)
    ((_, headers, body),) = receiver.requests
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == (made["id"], str(sent_at))
    signed = f"{made['id']}.{sent_at}.".encode() + body
    expected = base64.b64encode(hmac.digest(b"s3cret", signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


async def test_every_attempt_has_the_same_key_and_its_own_time(harness, ana, written, hook):
    """So the receiver takes it once, and an old recording is told by its age."""
    async with hook(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") as receiver:
        made = await written(receiver)
        for _ in range(2):
            assert (await send(ana, made)).status == 409
            await harness.clock.advance(60)
    first, second = (headers for _, headers, _ in receiver.requests)
    assert first["idempotency-key"] == second["idempotency-key"] == made["id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
    assert first["webhook-signature"] != second["webhook-signature"]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_success_is_one(ana, written, hook, status):
    """Any 2xx."""
    async with hook(f"HTTP/1.1 {status} OK\r\n\r\n".encode()) as receiver:
        assert (await send(ana, await written(receiver))).status == 200


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 599])
async def test_some_refusals_are_tried_again(ana, written, hook, status, row):
    """The receiver is busy, or broken."""
    async with hook(f"HTTP/1.1 {status} X\r\n\r\n".encode()) as receiver:
        made = await written(receiver)
        answer = await send(ana, made)
    assert answer.json()["detail"] == f"Not delivered, to be tried again: the receiver answered {status}."
    assert (await row(made["id"])).status == "pending"


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 410, 422])
async def test_other_refusals_are_final(ana, written, hook, status, row):
    """The same request would get the same answer. A redirect is one too: nobody is followed."""
    head = f"HTTP/1.1 {status} X\r\nLocation: http://127.0.0.1:1/\r\n\r\n"
    async with hook(head.encode()) as receiver:
        made = await written(receiver)
        answer = await send(ana, made)
    assert answer.json()["detail"] == f"Not delivered, given up: the receiver answered {status}."
    assert (await row(made["id"])).status == "failed"
    assert receiver.connections == 1


async def test_nobody_there_is_tried_again(ana, written, hook, row):
    """The receiver may be restarting."""
    async with hook() as receiver:
        made = await written(receiver)
    assert "could not be reached" in (await send(ana, made)).json()["detail"]
    assert (await row(made["id"])).status == "pending"


async def test_an_address_of_ours_is_refused_for_good(ana, written, hook, env, row):
    """Unless the settings name the host: nothing is even connected to."""
    async with hook() as receiver:
        env["MICRO_WEBHOOK_HOSTS"] = "*"
        made = await written(receiver)
        answer = await send(ana, made)
    assert answer.status == 409
    assert "not public" in answer.json()["detail"]
    assert (await row(made["id"])).status == "failed"
    assert receiver.connections == 0


async def test_without_a_list_of_hosts_only_public_ones_are_taken(ana, written, hook, env):
    """The safe default."""
    async with hook() as receiver:
        del env["MICRO_WEBHOOK_HOSTS"]
        assert "not public" in (await send(ana, await written(receiver))).json()["detail"]
    assert receiver.connections == 0


async def test_a_host_that_is_not_listed_is_refused(ana, written, hook, env):
    """The list is all there is."""
    async with hook() as receiver:
        env["MICRO_WEBHOOK_HOSTS"] = "hooks.example"
        assert "not one of those allowed" in (await send(ana, await written(receiver))).json()["detail"]
    assert receiver.connections == 0


async def test_without_a_secret_nothing_goes_out_unsigned(ana, written, hook, env):
    """The channel is not set up."""
    async with hook() as receiver:
        del env["MICRO_WEBHOOK_SECRET"]
        assert "not set up" in (await send(ana, await written(receiver))).json()["detail"]
    assert receiver.connections == 0
