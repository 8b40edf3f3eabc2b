"""The rules of notifications, without a database or a network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.services.notification.domain import (
    ATTEMPTS,
    LONGEST_PAUSE,
    Actor,
    BadTarget,
    DeliveryFailed,
    Denied,
    Notification,
    check_target,
    one_line,
    pause,
)

NOW = "2026-01-01T00:00:00.000Z"
LATER = "2026-01-01T00:01:00.000Z"


def notification(**fields) -> Notification:
    plain = {"channel": "log", "target": None, "subject": "s", "body": "b", "created_at": NOW}
    return Notification(id="1", user_id="ana", **{**plain, **fields})


def test_a_notification_is_its_user_s_or_an_admin_s():
    """Otherwise `Denied`."""
    Actor("ana").must_be("ana")
    Actor("root", admin=True).must_be("ana")
    with pytest.raises(Denied):
        Actor("eve").must_be("ana")


def test_what_was_sent_is_due_no_more():
    """And an earlier failure is forgotten."""
    after = notification(due_at=LATER, error="busy").sent(NOW)
    assert (after.status, after.sent_at, after.due_at, after.error) == ("sent", NOW, None, None)


def test_a_failure_that_time_may_mend_is_due_again():
    """Still pending, with the reason."""
    after = notification(attempts=1).refused(DeliveryFailed("busy"), LATER)
    assert (after.status, after.due_at, after.error) == ("pending", LATER, "busy")


@pytest.mark.parametrize(("attempts", "final"), [(1, True), (ATTEMPTS, False), (ATTEMPTS + 1, False)])
def test_a_failure_for_good_is_never_due_again(attempts, final):
    """What can't be mended, and what was tried often enough."""
    after = notification(attempts=attempts, due_at=NOW).refused(DeliveryFailed("no", final=final), LATER)
    assert (after.status, after.due_at, after.error) == ("failed", None, "no")


def test_the_last_attempt_but_one_is_tried_again():
    """The limit is the number of attempts."""
    assert notification(attempts=ATTEMPTS - 1).refused(DeliveryFailed("no"), LATER).status == "pending"


def test_pauses_double_up_to_a_cap():
    """At the worst of chance."""
    assert [pause(n, 1.0) for n in (1, 2, 3, 4)] == [4.0, 8.0, 16.0, 32.0]
    assert pause(ATTEMPTS, 1.0) == pause(1000, 1.0) == LONGEST_PAUSE


@given(st.integers(0, 50), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_anywhere_below_its_bound(attempts, chance):
    """Full jitter: those that failed together don't come back together."""
    assert 0 <= pause(attempts, chance) <= min(LONGEST_PAUSE, 2.0 * 2.0**attempts)


@given(st.text())
def test_a_line_has_no_break_that_any_mail_software_knows(text):
    """Nothing that `str.splitlines` splits at, and no other control character."""
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert not any(ord(char) < 32 or ord(char) == 127 for char in line)


def test_a_line_keeps_its_words():
    """Breaks become single spaces."""
    assert one_line(" a\r\n b\tc\u2028d ") == "a b c d"


@given(st.text(), st.sampled_from(["\r", "\n", "\x00", " ", ",", ";", "<", ">", "\x0b", "\x85", "\u2028"]))
def test_no_address_holds_a_second_one_or_a_header(text, evil):
    """Whatever stands around it."""
    for target in (f"{text}{evil}@example.com", f"ana@{text}{evil}", f"ana@example.com{evil}{text}"):
        with pytest.raises(BadTarget):
            check_target("email", target)


@pytest.mark.parametrize("target", [None, "anything", "http://x"])
def test_the_log_takes_any_target(target):
    """It has no use for one."""
    check_target("log", target)
