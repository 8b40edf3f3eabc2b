"""Verbs that need no running stack: this process opens the databases, under their locks."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _plain(home):
    (home / "plain_app.py").write_text("async def app(scope, receive, send): ...")
    (home / "micro.toml").write_text('[services.plain]\napp = "plain_app:app"\nroutes = ["/"]\n')


def test_what_was_published_is_listed_by_another_command(micro):
    published = micro(
        "events", "publish", "demo.events", "DemoEvent", "--key", "k", "--data", '{"a": 1}', "--json"
    )
    assert published.code == 0, published.err
    (listed,) = micro("events", "list", "--json").json["items"]
    assert listed == published.json
    assert micro("events", "tail", "--no-follow").out.endswith("k  a=1\n")
    assert micro("events", "stats", "--json").json["topics"][0]["events"] == 1


def test_a_trace_reaches_back_over_a_stop(micro):
    published = micro("events", "publish", "demo.events", "DemoEvent", "--key", "k", "--json").json
    trace = micro("events", "trace", published["event"]["id"])
    assert trace.code == 0, trace.err
    assert trace.out.startswith("DemoEvent  demo.events  k")


def test_a_look_into_a_folder_where_nothing_ever_ran_leaves_nothing_there(micro, home):
    code, _, err = micro("events", "list")
    assert code == 2
    assert "no stack has run here yet" in err
    assert not (home / ".micro").exists()


def test_nothing_is_left_behind_by_a_command(micro, home):
    assert micro("db", "migrate").code == 0
    assert micro("dlq", "list") == (0, "", "no dead letters\n")
    assert micro("db", "status").code == 0
    assert not (home / ".micro" / "run.json").exists()
    assert micro("dlq", "list").code == 0, "the lock was given back"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dlq", "inspect", "nope"], "no service has a dead letter nope"),
        (["db", "shell", "palin", "select 1"], "there is no service 'palin'; did you mean 'plain'?"),
        (["events", "list", "--since", "yesterday"], "'yesterday' is no time"),
        (["events", "tail"], "no stack is running"),
    ],
)
def test_a_refusal_is_the_same_sentence_as_the_running_stack_s(micro, arguments, said):
    assert micro("db", "migrate").code == 0
    code, out, err = micro(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
