"""Signs what is posted to a webhook, by https://www.standardwebhooks.com, version 1."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

from micro.errors import ConfigurationError

if TYPE_CHECKING:
    from datetime import datetime

PREFIX = "whsec_"


def webhook_headers(secret: str, id: str, body: bytes, *, at: datetime) -> dict[str, str]:
    """The headers by which a receiver knows who sent `body`, and when: HMAC-SHA256 over id, time and body.

    The key is what follows ``whsec_`` in base64, or else the secret as it stands, in UTF-8. `id` is the same for every
    attempt to deliver the same thing. Raises `ConfigurationError` for a ``whsec_`` secret that is not base64.
    """
    timestamp = str(int(at.timestamp()))
    signed = b".".join((id.encode(), timestamp.encode(), body))
    signature = base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()
    return {"Webhook-Id": id, "Webhook-Timestamp": timestamp, "Webhook-Signature": f"v1,{signature}"}


def _key(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError as error:
        raise ConfigurationError("a webhook secret that starts with whsec_ goes on in base64") from error
