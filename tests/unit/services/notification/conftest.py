"""The notification service by itself, three people who use it, and a mail server."""

from __future__ import annotations

import asyncio
from email import message_from_bytes
from email.policy import default
from types import SimpleNamespace

import pytest
import serving
from aiosmtpd.smtp import SMTP

from micro.services.notification.service import service
from micro.testing import FakeClock, ServiceHarness


@pytest.fixture
def env():
    """The service's settings. What a test puts in counts from then on."""
    return {}


@pytest.fixture
async def harness(tmp_path, env, open_database):
    """The service on an empty database; its worker does not run."""
    clock = FakeClock()
    store = await open_database("notification", clock)
    async with ServiceHarness(service, tmp_path, env=env, clock=clock, store=store) as harness:
        yield harness


@pytest.fixture
def write(harness):
    """Makes somebody write a notification for themselves; gives its JSON."""

    async def write(client, user_id="ana", **form):
        form = {"channel": "log", "target": None, "subject": "Hello", "body": "How are you?", **form}
        answer = await client.post("/notifications", json={"user_id": user_id, **form})
        assert answer.status == 201, answer.body
        await harness.clock.advance(1)
        return answer.json()

    return write


@pytest.fixture
def registered(harness):
    """Has the user service tell that somebody registered."""

    async def registered(user_id="ana", email="ana@example.com", name="Ana"):
        facts = {"user_id": user_id, "email": email, "name": name, "role": "user"}
        return await harness.deliver("UserCreatedEvent", facts, topic="user.events", key=user_id)

    return registered


class MailServer:
    """What a test says it answers, and the messages that it took."""

    def __init__(self):
        self.rcpt = "250 OK"
        self.data = "250 OK"
        self.messages = []
        self.envelopes = []
        self.encrypted = []

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 # aiosmtpd's
        """Take or refuse a recipient."""
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 # aiosmtpd's
        """Take or refuse a message."""
        if self.data.startswith("250"):
            self.messages.append(message_from_bytes(envelope.content, policy=default))
            self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
            self.encrypted.append(session.ssl is not None)
        return self.data


@pytest.fixture
async def smtp():
    """Starts a mail server, with the options of `aiosmtpd.smtp.SMTP`."""
    servers = []

    async def start(**options):
        mail = MailServer()
        server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(mail, hostname="mail.test", **options), "127.0.0.1", 0
        )
        servers.append(server)
        mail.port = server.sockets[0].getsockname()[1]
        return mail

    yield start
    for server in servers:
        await serving.close(server)


@pytest.fixture
async def mail(smtp, env):
    """A mail server that the service is set up with."""
    server = await smtp()
    env["MICRO_SMTP_URL"] = f"smtp://127.0.0.1:{server.port}?from=noreply@micro.test"
    return server


@pytest.fixture
def hook(env, listening):
    """Starts a webhook receiver on this machine, which the settings allow."""

    def start(*arguments, **options):
        env.update({"MICRO_WEBHOOK_SECRET": "s3cret", "MICRO_WEBHOOK_HOSTS": "127.0.0.1"})
        return listening(*arguments, **options)

    return start


@pytest.fixture
def worker(harness):
    """`worker.start()` runs the service's background worker; `worker.until(check)` waits for something it does."""
    (deliver,) = service.backgrounds
    running = []

    def start():
        task = asyncio.create_task(deliver(harness.micro))
        running.append(task)
        return task

    async def until(check):
        # Time goes on only while the worker waits for it: its database and its mail server take real time. Twenty
        # seconds of the service's time at most, well within a lease.
        left = 40
        async with asyncio.timeout(60):
            while not await check():
                assert not any(task.done() for task in running), running
                waiting = harness.clock.sleeping and left > 0
                await harness.clock.advance(0.5 if waiting else 0)
                left -= bool(waiting)

    async def stop():
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        running.clear()

    return SimpleNamespace(start=start, until=until, stop=stop)


@pytest.fixture(autouse=True)
async def _nothing_left_running(worker):
    """Every worker ends with its test."""
    yield
    await worker.stop()


@pytest.fixture
def row(harness):
    """Reads all columns of a notification."""

    async def row(id):
        (found,) = await harness.micro.query("select * from notifications where id = ?", id)
        return SimpleNamespace(**dict(found))

    return row
