"""E-mail, by a real SMTP server."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
from aiosmtpd.smtp import AuthResult

from micro.errors import ConfigurationError
from micro.services.notification.channels import EmailChannel, channels
from micro.services.notification.domain import DeliveryFailed, Notification
from micro.testing import FakeClock


def notification(**fields) -> Notification:
    """One that waits to be delivered."""
    plain = {
        "id": "019b76da-a800-7eb1-a7a9-c3787c65c1e5",
        "user_id": "ana",
        "channel": "email",
        "target": "ana@example.com",
        "subject": "Hello",
        "body": "How are you?",
        "created_at": "2026-01-01T00:00:00.000Z",
    }
    return Notification(**plain | fields)


def channel(server, *, scheme="smtp", login="", host="127.0.0.1") -> EmailChannel:
    return EmailChannel(f"{scheme}://{login}{host}:{server.port}?from=noreply@micro.test")


async def send(client, made):
    return await client.post(f"/notifications/{made['id']}/send")


async def test_an_e_mail_has_all_that_belongs_in_one(smtp):
    """From, To, Subject, Date, Message-ID, and a mark that no person wrote it."""
    server = await smtp()
    await channel(server).deliver(notification())
    (message,) = server.messages
    assert server.envelopes == [("noreply@micro.test", ["ana@example.com"])]
    assert (message["from"], message["to"], message["subject"]) == (
        "noreply@micro.test",
        "ana@example.com",
        "Hello",
    )
    assert parsedate_to_datetime(message["date"]) == datetime(2026, 1, 1, tzinfo=UTC)
    assert message["message-id"] == "<019b76da-a800-7eb1-a7a9-c3787c65c1e5@micro.test>"
    assert message["auto-submitted"] == "auto-generated"
    assert message.get_content().strip() == "How are you?"


async def test_every_attempt_has_the_same_message_id(smtp):
    """So that mail software shows one message."""
    server = await smtp()
    for _ in range(2):
        await channel(server).deliver(notification())
    assert len({message["message-id"] for message in server.messages}) == 1


async def test_any_language_arrives(smtp):
    """In subject and body, also beyond the line length of SMTP."""
    server = await smtp()
    subject, body = "Größe: 5 €, 日本語 🎉", "Ça va ?\n" + "длинная строка " * 200
    await channel(server).deliver(notification(subject=subject, body=body))
    (message,) = server.messages
    assert message["subject"] == subject
    assert message.get_content().split() == body.split()


async def test_a_body_can_not_end_the_message(smtp):
    """A line with a single dot is text like any other (RFC 5321 section 4.5.2)."""
    server = await smtp()
    body = "one\n.\nQUIT\n..\ntwo"
    await channel(server).deliver(notification(body=body))
    (message,) = server.messages
    assert message.get_content().splitlines() == body.splitlines()


@pytest.mark.parametrize(
    "subject", ["a\nBcc: eve@example.com", "a\r\n\r\nHello", "a\rb", "a\x0bb", "a\x85b", "a\u2028b", "a\x00b"]
)
async def test_a_subject_can_not_become_a_header(smtp, subject):
    """However it got here: it stays one line."""
    server = await smtp()
    await channel(server).deliver(notification(subject=subject))
    (message,) = server.messages
    assert message["bcc"] is None
    assert message["subject"].startswith("a ")
    assert message.get_content().strip() == "How are you?"
    assert server.envelopes[0][1] == ["ana@example.com"]


@pytest.mark.parametrize(
    "target",
    [
        "ana",
        "ana@",
        "ana@example.com\nBcc: eve@example.com",
        "ana@example.com, eve@example.com",
        "",
        "a b@example.com",
        "a..b@example.com",
        "ana@example..com",
        "änä@example.com",
    ],
)
async def test_what_is_not_one_address_is_refused_for_good(smtp, target):
    """However it got here: nothing is sent to anybody."""
    server = await smtp()
    with pytest.raises(DeliveryFailed) as failure:
        await channel(server).deliver(notification(target=target))
    assert failure.value.final
    assert server.messages == []


async def test_without_a_target_it_goes_to_the_address_that_is_known(harness, ana, write, mail, registered):
    """From the user's events."""
    await registered()
    made = await write(ana, channel="email")
    assert (await send(ana, made)).json() == made | {
        "status": "sent",
        "sent_at": "2026-01-01T00:00:01.000Z",
    }
    assert server_saw(mail) == ["ana@example.com"]


async def test_a_target_counts_more_than_the_address_that_is_known(ana, write, mail, registered):
    """Somebody chose it."""
    await registered()
    await send(ana, await write(ana, channel="email", target="ana@work.example"))
    assert server_saw(mail) == ["ana@work.example"]


async def test_an_address_that_is_not_known_yet_may_come(ana, write, mail, registered, row):
    """The event about the user may still be on its way."""
    made = await write(ana, channel="email")
    answer = await send(ana, made)
    assert "no e-mail address of this user is known yet" in answer.json()["detail"]
    assert (await row(made["id"])).status == "pending"
    await registered()
    assert (await send(ana, made)).status == 200


@pytest.mark.parametrize("reply", ["rcpt", "data"])
@pytest.mark.parametrize(("code", "final"), [(421, False), (450, False), (550, True), (554, True)])
async def test_what_the_server_says_decides_whether_it_is_tried_again(smtp, reply, code, final):
    """4xx: later. 5xx: never (RFC 5321 section 4.2.1). Its own words stay between the servers."""
    server = await smtp()
    setattr(server, reply, f"{code} internal-host-7 says no")
    with pytest.raises(DeliveryFailed, match=f"^the mail server answered {code}$") as failure:
        await channel(server).deliver(notification())
    assert failure.value.final is final
    assert server.messages == []


async def test_no_server_is_no_reason_to_give_up(smtp):
    """It may be restarting."""
    server = await smtp()
    with pytest.raises(DeliveryFailed, match="no e-mail could be sent") as failure:
        await EmailChannel("smtp://127.0.0.1:1?from=noreply@micro.test").deliver(notification())
    assert not failure.value.final
    assert server.messages == []


def accounts(server, session, envelope, mechanism, auth_data):
    """Knows one user."""
    known = (auth_data.login, auth_data.password) == (b"us er", b"p@ss:w/rd")
    return AuthResult(success=known, handled=False)


@pytest.fixture
def localhost(certified, monkeypatch):
    """A TLS context of a server called localhost, which this process trusts."""
    context, file = certified("localhost")
    monkeypatch.setenv("SSL_CERT_FILE", file)
    return context


async def test_a_password_goes_out_encrypted(smtp, localhost):
    """STARTTLS first; user and password may hold any character, percent-encoded in the URL."""
    server = await smtp(tls_context=localhost, authenticator=accounts, auth_required=True)
    login = "us%20er:p%40ss%3Aw%2Frd@"
    await channel(server, login=login, host="localhost").deliver(notification())
    assert server.encrypted == [True]


async def test_a_password_is_not_sent_where_there_is_no_encryption(smtp):
    """A server without STARTTLS, or somebody in between who hides it, learns nothing."""
    asked = []

    def eavesdrop(server, session, envelope, mechanism, auth_data):
        asked.append(auth_data)
        return AuthResult(success=True)

    server = await smtp(authenticator=eavesdrop, auth_require_tls=False)
    with pytest.raises(DeliveryFailed) as failure:
        await channel(server, login="user:secret@").deliver(notification())
    assert not failure.value.final
    assert (asked, server.messages) == ([], [])


async def test_a_wrong_password_can_be_mended(smtp, localhost):
    """By whoever keeps the settings: the notification waits."""
    server = await smtp(tls_context=localhost, authenticator=accounts, auth_required=True)
    with pytest.raises(DeliveryFailed, match="the mail server answered 535") as failure:
        await channel(server, login="user:wrong@", host="localhost").deliver(notification())
    assert not failure.value.final


async def test_encryption_is_used_where_it_is_offered(smtp, localhost):
    """Also without a password."""
    server = await smtp(tls_context=localhost)
    await channel(server, host="localhost").deliver(notification())
    assert server.encrypted == [True]


async def test_a_server_that_can_not_prove_its_name_gets_nothing(smtp, certificate):
    """Its certificate is vouched for by nobody."""
    context, _ = certificate("localhost")
    server = await smtp(tls_context=context)
    with pytest.raises(DeliveryFailed) as failure:
        await channel(server, host="localhost").deliver(notification())
    assert (failure.value.final, server.messages) == (False, [])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.com",
        "http://mail.example.com?from=a@example.com",
        "smtp://mail.example.com",
        "smtp://mail.example.com?from=",
        "smtp://mail.example.com?from=nobody",
        "smtp://mail.example.com?from=a@example.com&x=y",
        "smtp://mail.example.com?sender=a@example.com",
        "smtp://mail.example.com:port?from=a@example.com",
        "smtp://mail.example.com:99999?from=a@example.com",
        "smtp://?from=a@example.com",
    ],
)
def test_a_setting_that_can_not_be_read_is_named(url):
    """With an example, and without what may be a password."""
    with pytest.raises(ConfigurationError, match="MICRO_SMTP_URL: must look like smtp://"):
        EmailChannel(url)


@pytest.mark.parametrize(
    ("env", "open"),
    [
        ({}, {"log"}),
        ({"MICRO_SMTP_URL": ""}, {"log"}),
        ({"MICRO_SMTP_URL": "smtps://mail.example.com?from=a@example.com"}, {"log", "email"}),
        ({"MICRO_WEBHOOK_SECRET": "x"}, {"log", "webhook"}),
        ({"MICRO_WEBHOOK_HOSTS": "x"}, {"log"}),
    ],
)
def test_the_settings_open_the_channels(env, open):
    """The log is always there."""
    assert channels(env, FakeClock()).keys() == open


def server_saw(mail):
    """Whom the messages were for."""
    return [address for _, addresses in mail.envelopes for address in addresses]
