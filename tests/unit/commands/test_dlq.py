"""`micro dlq …` against a stack that answers as told."""

from __future__ import annotations

import os
import pty

import pytest

LETTER = {
    "id": "event-1",
    "service": "notification",
    "topic": "task.events",
    "type": "TaskCompletedEvent",
    "key": "k",
    "attempts": 8,
    "exception": "ValueError",
    "failed_at": "2026-01-01T12:00:00.000Z",
}


def test_list_is_a_table_and_one_object_as_json(micro, stack):
    stack.answers["dlq.list"] = [{"item": LETTER}, {"end": {}}]
    code, out, _ = micro("dlq", "list", "--service", "notification", "--exception", "ValueError")
    assert code == 0
    assert out.splitlines()[1].split()[:7] == [
        "event-1",
        "notification",
        "task.events",
        "TaskCompletedEvent",
        "k",
        "8",
        "ValueError",
    ]
    assert stack.asked == [("dlq.list", {"service": "notification", "exception": "ValueError", "limit": 50})]
    assert micro("dlq", "list", "--json").json == {"items": [LETTER]}


def test_an_empty_list_is_good_news(micro, stack):
    stack.answers["dlq.list"] = [{"end": {}}]
    assert micro("dlq", "list") == (0, "", "no dead letters\n")


def test_inspect_shows_all_of_it(micro, stack):
    letter = {**LETTER, "stack": "Traceback\n  line 1", "event": {"subject": "k"}, "next": None}
    stack.answers["dlq.inspect"] = [{"end": letter}]
    code, out, _ = micro("dlq", "inspect", "event-1")
    assert code == 0
    lines = out.splitlines()
    assert "    line 1" in lines
    assert "  subject         k" in lines
    assert "next              -" in lines
    assert micro("dlq", "inspect", "event-1", "--json").json == letter


@pytest.mark.parametrize("verb", ["replay", "skip", "purge"])
@pytest.mark.parametrize("arguments", [[], ["event-1", "--all"]])
def test_one_or_all_has_to_be_said(micro, verb, arguments):
    code, _, err = micro("dlq", verb, *arguments)
    assert code == 2
    assert f"micro dlq {verb} ID, or --all" in err


@pytest.mark.parametrize("verb", ["replay", "skip", "purge"])
def test_yes_does_it(micro, stack, verb):
    stack.answers[f"dlq.{verb}"] = [{"end": {"items": [LETTER]}}]
    code, out, err = micro("dlq", verb, "event-1", "--yes")
    assert code == 0
    assert "event-1" in out, "what is concerned is shown"
    assert err == f"done: {verb} 1 dead letter\n"
    assert [args for _, args in stack.asked] == [
        {"ids": ["event-1"], "dry_run": True},
        {"ids": ["event-1"], "dry_run": False},
    ]


@pytest.mark.parametrize("verb", ["skip", "purge"])
def test_what_can_not_be_undone_needs_yes_where_nobody_can_be_asked(micro, stack, verb):
    stack.answers[f"dlq.{verb}"] = [{"end": {"items": [LETTER]}}]
    code, _, err = micro("dlq", verb, "--all")
    assert code == 2
    assert err.endswith(f"error: this would {verb} 1 dead letter; to do it without being asked, add --yes\n")
    assert [args["dry_run"] for _, args in stack.asked] == [True]


def test_replay_without_yes_is_a_plan(micro, stack):
    stack.answers["dlq.replay"] = [{"end": {"items": [LETTER]}}]
    result = micro("dlq", "replay", "--all", "--json")
    assert result.code == 0
    assert result.json == {"items": [LETTER], "done": False}
    assert stack.asked == [("dlq.replay", {"everything": True, "dry_run": True})]


def test_a_letter_that_fails_again_is_told_with_the_reason(micro, stack):
    failed = {**LETTER, "outcome": "failed", "detail": "ValueError: still"}
    stack.answers["dlq.replay"] = [{"end": {"items": [failed]}}]
    code, _, err = micro("dlq", "replay", "event-1", "--yes")
    assert code == 1
    assert err == (
        "done: replay 1 dead letter: 1 failed again\nevent-1 failed again at notification: ValueError: still\n"
    )


def test_what_was_done_is_counted_by_what_came_of_it(micro, stack):
    outcomes = ["applied", "failed", "applied", "gone"]
    items = [{**LETTER, "outcome": outcome, "detail": ""} for outcome in outcomes]
    stack.answers["dlq.replay"] = [{"end": {"items": items}}]
    _, _, err = micro("dlq", "replay", "--all", "--yes")
    first = err.splitlines()[0]
    assert first == "done: replay 4 dead letters: 2 applied, 1 failed again, 1 gone meanwhile"


def test_nothing_to_do_asks_nothing(micro, stack):
    stack.answers["dlq.purge"] = [{"end": {"items": []}}]
    assert micro("dlq", "purge", "--all") == (0, "", "no dead letters\n")
    assert micro("dlq", "purge", "--all", "--json").json == {"items": [], "done": False}
    assert [args["dry_run"] for _, args in stack.asked] == [True, True]


@pytest.mark.parametrize(("answer", "done"), [(b"y\n", True), (b"\n", False)])
def test_on_a_terminal_the_person_is_asked(micro_process, stack, answer, done):
    stack.answers["dlq.purge"] = [{"end": {"items": [LETTER]}}]
    master, slave = pty.openpty()
    process = micro_process("dlq", "purge", "event-1", stdin=slave, stdout=slave, stderr=slave)
    with process:
        os.close(slave)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(master, 1000)
        assert b"purge 1 dead letter?" in shown
        os.write(master, answer)
        assert process.wait(60) == 0
    os.close(master)
    assert [args["dry_run"] for _, args in stack.asked] == ([True, False] if done else [True])
