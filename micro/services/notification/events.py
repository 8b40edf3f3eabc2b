"""What the notification service publishes on `notification.events`, keyed by the notification's id."""

from __future__ import annotations

from micro import Event


class NotificationSentEvent(Event, topic="notification.events"):
    """A channel took a notification. Neither subject nor body: what people are told is theirs."""

    notification_id: str
    user_id: str
    channel: str
    sent_at: str
