"""Signatures of webhooks, by the published specification."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest

from micro.errors import ConfigurationError
from micro.security.webhooks import webhook_headers

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_example_of_the_specification():
    """https://github.com/standard-webhooks/standard-webhooks: what its libraries accept."""
    headers = webhook_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        at=datetime.fromtimestamp(1614265330, UTC),
    )
    assert headers == {
        "Webhook-Id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "Webhook-Timestamp": "1614265330",
        "Webhook-Signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_secret_may_be_any_text():
    """Then it is the key itself."""
    headers = webhook_headers("größe", "1", b"body", at=NOW)
    expected = hmac.digest("größe".encode(), b"1.1767225600.body", hashlib.sha256)
    assert headers["Webhook-Signature"] == f"v1,{base64.b64encode(expected).decode()}"


@pytest.mark.parametrize(
    "change", [{"id": "2"}, {"body": b"other"}, {"secret": "t"}, {"at": NOW.replace(second=1)}]
)
def test_whatever_changes_changes_the_signature(change):
    """Id, body, time and key are all signed with."""
    given = {"secret": "s", "id": "1", "body": b"body", "at": NOW}
    before, after = webhook_headers(**given), webhook_headers(**given | change)
    assert after["Webhook-Signature"] != before["Webhook-Signature"]


@pytest.mark.parametrize("secret", ["whsec_*", "whsec_abc"])
def test_a_secret_that_only_looks_like_one_is_refused(secret):
    """Rather than signed with by half."""
    with pytest.raises(ConfigurationError, match="base64"):
        webhook_headers(secret, "1", b"", at=NOW)
