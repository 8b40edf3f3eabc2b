"""What verbs share: lists, and changes that are shown before they are made."""

from __future__ import annotations

import io

import pytest

from micro.commands.ask import Change, collect, show_items
from micro.console import Console
from micro.errors import MicroError, UsageError


class Pipe(io.StringIO):
    encoding = "utf-8"


class Script:
    """A session that answers a verb with items and an end, and keeps what it was asked."""

    def __init__(self, *answers: tuple[list[dict], dict]) -> None:
        self.answers = list(answers)
        self.asked: list[dict] = []

    def ask(self, verb, args, *, each=None, timeout=None):
        self.asked.append(dict(args))
        items, end = self.answers.pop(0)
        for item in items:
            each(item)
        return end


@pytest.fixture
def console():
    return Console(Pipe(), Pipe(), environ={})


@pytest.mark.parametrize("answer", [([{"n": 1}], {}), ([], {"items": [{"n": 1}]})])
def test_items_are_collected_whether_they_come_one_by_one_or_at_the_end(answer):
    assert collect(Script(answer), "x") == [{"n": 1}]


def test_no_items_are_an_empty_list():
    assert collect(Script(([], {})), "x") == []


@pytest.mark.parametrize(
    ("items", "json", "out", "err"),
    [
        ([{"n": 1}], False, "N\n1\n", ""),
        ([], False, "", "none\n"),
        ([{"n": 1}], True, '{"items":[{"n":1}]}\n', ""),
        ([], True, '{"items":[]}\n', ""),
    ],
)
def test_a_list_is_a_table_a_remark_or_one_object(console, items, json, out, err):
    show_items(console, items, columns={"n": lambda item: str(item["n"])}, json=json, nothing="none")
    assert (console.out.getvalue(), console.err.getvalue()) == (out, err)


def change(**options) -> Change:
    return Change(
        verb="x",
        args={"of": "it"},
        sentence=lambda answer: f"change {answer['count']}",
        nothing=lambda plan: not plan["count"],
        failures=lambda answer: answer.get("failed", ()),
        **options,
    )


class TestChange:
    def test_the_plan_comes_first_and_changes_nothing(self, console):
        session = Script(([], {"count": 2}))
        assert change().carry_out(console, session, yes=False, json=False) == 0
        assert session.asked == [{"of": "it", "dry_run": True}]
        assert console.err.getvalue() == "nothing done; with --yes: change 2\n"

    def test_yes_does_it_and_says_what_was_done(self, console):
        session = Script(([], {"count": 2}), ([], {"count": 1}))
        assert change().carry_out(console, session, yes=True, json=False) == 0
        assert [asked["dry_run"] for asked in session.asked] == [True, False]
        assert console.err.getvalue() == "done: change 1\n", "what was done, not what was planned"

    def test_items_that_come_one_by_one_belong_to_the_answer(self, console):
        shown = []
        session = Script(([{"n": 1}], {"count": 1}))
        change(show=lambda console, plan: shown.append(plan)).carry_out(
            console, session, yes=False, json=False
        )
        assert shown == [{"count": 1, "items": [{"n": 1}]}]

    def test_where_it_can_not_be_undone_nobody_to_ask_means_yes_is_needed(self, console):
        with pytest.raises(UsageError, match="this would change 2; to do it without being asked, add --yes"):
            change(destroys=True).carry_out(console, Script(([], {"count": 2})), yes=False, json=False)

    def test_nothing_to_do_is_done_without_asking(self, console):
        session = Script(([], {"count": 0}))
        assert change(destroys=True).carry_out(console, session, yes=True, json=False) == 0
        assert len(session.asked) == 1
        assert console.err.getvalue() == "nothing to do: change 0\n"

    @pytest.mark.parametrize(("answer", "done"), [("y\n", True), ("n\n", False)])
    def test_on_a_terminal_the_person_decides(self, console, monkeypatch, answer, done):
        monkeypatch.setattr(console, "confirm", lambda question: answer == "y\n")
        session = Script(([], {"count": 2}), ([], {"count": 2}))
        assert change(destroys=True).carry_out(console, session, yes=False, json=False) == 0
        assert len(session.asked) == (2 if done else 1)

    def test_as_json_there_is_one_object_that_says_whether_it_was_done(self, console):
        session = Script(([], {"count": 2}), ([], {"count": 2}))
        change().carry_out(console, session, yes=True, json=True)
        assert console.out.getvalue() == '{"count":2,"done":true}\n'
        assert console.err.getvalue() == ""

    def test_what_failed_is_told_and_is_not_well(self, console):
        session = Script(([], {"count": 1}), ([], {"count": 1, "failed": ["x failed again"]}))
        assert change().carry_out(console, session, yes=True, json=False) == 1
        assert console.err.getvalue().endswith("x failed again\n")

    def test_a_verb_that_fails_is_not_reported_as_done(self, console):
        class Failing(Script):
            def ask(self, verb, args, **options):
                if not args["dry_run"]:
                    raise MicroError("the disk is full")
                return super().ask(verb, args, **options)

        with pytest.raises(MicroError, match="the disk is full"):
            change().carry_out(console, Failing(([], {"count": 2})), yes=True, json=False)
        assert "done" not in console.err.getvalue()
