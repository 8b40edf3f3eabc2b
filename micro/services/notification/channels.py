"""The ways out: the log, webhooks, and e-mail by SMTP (https://www.rfc-editor.org/rfc/rfc5321)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from micro import CallError, ConfigurationError
from micro.security.outbound import ForbiddenTarget, Outbound
from micro.security.webhooks import webhook_headers
from micro.services.notification.domain import EMAIL, LOG, WEBHOOK, DeliveryFailed, check_target, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import EmailMessage

    from micro import Clock
    from micro.services.notification.delivery import Channel
    from micro.services.notification.domain import Notification

logger = logging.getLogger("micro.service.notification")

AGAIN = frozenset({408, 425, 429})  # refusals that time may mend, as every 5xx
LOGIN = frozenset({530, 534, 535, 538})  # a mail server's answers to a wrong password (RFC 4954 section 6)


def channels(env: Mapping[str, str], clock: Clock) -> dict[str, Channel]:
    """The log; e-mail with `MICRO_SMTP_URL`; webhooks with `MICRO_WEBHOOK_SECRET`, to `MICRO_WEBHOOK_HOSTS`.

    Raises `ConfigurationError` for a setting that can't be read.
    """
    found: dict[str, Channel] = {LOG: LogChannel()}
    if url := env.get("MICRO_SMTP_URL"):
        found[EMAIL] = EmailChannel(url)
    if secret := env.get("MICRO_WEBHOOK_SECRET"):
        found[WEBHOOK] = WebhookChannel(secret, Outbound(env.get("MICRO_WEBHOOK_HOSTS", "*")), clock)
    return found


class LogChannel:
    """Writes one line to the service's log, escaped, so that no text can look like another line."""

    async def deliver(self, notification: Notification) -> None:
        """See `Channel.deliver`."""
        what = (notification.id, notification.user_id, notification.subject, notification.body)
        logger.info("notification %s to %s: %r %r", *what)


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Posts JSON, signed, with the notification's id as `Idempotency-Key`."""

    secret: str = field(repr=False)
    outbound: Outbound
    clock: Clock

    async def deliver(self, notification: Notification) -> None:
        """See `Channel.deliver`."""
        data = {name: getattr(notification, name) for name in ("id", "user_id", "subject", "body")}
        content = {"type": "notification", "timestamp": notification.created_at, "data": data}
        body = msgspec.json.encode(content)
        headers = webhook_headers(self.secret, notification.id, body, at=self.clock.now())
        headers |= {"Content-Type": "application/json", "Idempotency-Key": notification.id}
        try:
            status = await self.outbound.post(notification.target or "", body, headers)
        except CallError as error:
            raise DeliveryFailed(str(error), final=isinstance(error, ForbiddenTarget)) from error
        if not 200 <= status < 300:
            final = status < 500 and status not in AGAIN
            raise DeliveryFailed(f"the receiver answered {status}", final=final)


class EmailChannel:
    """Sends by the server at ``smtp://user:password@host:port?from=sender@host``; ``smtps`` is TLS from the start.

    With `smtp`, STARTTLS must be there for a password to be sent. Raises `ConfigurationError` for another URL.
    """

    def __init__(self, url: str) -> None:
        try:
            self._sender, self._server = _settings(url)
        except (ValueError, KeyError, DeliveryFailed) as error:
            example = "smtp://user:password@mail.example.com:587?from=noreply@example.com"
            raise ConfigurationError(f"must look like {example}", key="MICRO_SMTP_URL") from error

    async def deliver(self, notification: Notification) -> None:
        """See `Channel.deliver`. Every attempt has the same Message-ID."""
        import aiosmtplib  # noqa: PLC0415 # loaded when first used

        if notification.target is None:
            raise DeliveryFailed("no e-mail address of this user is known yet")
        message = self._message(notification, notification.target)
        try:
            await aiosmtplib.send(
                message, sender=self._sender, recipients=[notification.target], **self._server
            )
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _refusal(error) from error

    def _message(self, notification: Notification, target: str) -> EmailMessage:
        from email.errors import MessageError  # noqa: PLC0415 # loaded when first used, as the next three
        from email.headerregistry import Address  # noqa: PLC0415 # as above
        from email.message import EmailMessage  # noqa: PLC0415 # as above
        from email.policy import SMTP  # noqa: PLC0415 # as above

        message = EmailMessage(SMTP)
        check_target(EMAIL, target)
        try:
            message["To"] = Address(addr_spec=target)
        except (ValueError, MessageError) as error:
            raise DeliveryFailed("this is not an e-mail address", final=True) from error
        message["From"] = Address(addr_spec=self._sender)
        message["Subject"] = one_line(notification.subject)
        message["Date"] = datetime.fromisoformat(notification.created_at)
        message["Message-ID"] = f"<{notification.id}@{self._sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notice shall answer
        message.set_content(notification.body)
        return message


def _settings(url: str) -> tuple[str, dict[str, Any]]:
    parts = urlsplit(url)
    tls = {"smtp": False, "smtps": True}[parts.scheme]
    ((name, sender),) = parse_qsl(parts.query, strict_parsing=True)
    check_target(EMAIL, sender)
    if name != "from" or not parts.hostname:
        raise ValueError(url)
    return sender, {
        "hostname": parts.hostname,
        "port": parts.port,
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "use_tls": tls,
        # A password never goes out in the clear; without one, the server says whether there is encryption.
        "start_tls": False if tls else bool(parts.password) or None,
        "timeout": 10.0,  # for each command
    }


def _refusal(error: Exception) -> DeliveryFailed:
    """What the server's code means: 4xx later, 5xx never (RFC 5321 4.2.1), except for a log-in that can be mended."""
    first: Any = next(iter(getattr(error, "recipients", ())), error)
    code = getattr(first, "code", None)
    if code is None:
        return DeliveryFailed(f"no e-mail could be sent ({type(error).__name__})")
    return DeliveryFailed(f"the mail server answered {code}", final=code >= 500 and code not in LOGIN)
