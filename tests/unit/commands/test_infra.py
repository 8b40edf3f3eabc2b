"""`micro infra down` beside a stack that works with the servers."""

from __future__ import annotations

import pytest


@pytest.fixture
def on_servers(stack):
    stack.record["infra"] = ["store", "cache"]
    stack.publish()
    return stack


@pytest.mark.parametrize(
    ("named", "refused"), [([], "postgres, redis"), (["redis", "kafka"], "redis"), (["postgres"], "postgres")]
)
def test_what_a_running_stack_works_with_is_not_taken_from_under_it(on_servers, micro, named, refused):
    done = micro("infra", "down", *named)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: the stack that runs here (process {on_servers.record['pid']}) works with {refused}; "
        "stop it first: micro down\n"
    )


@pytest.mark.usefixtures("on_servers")
def test_what_it_does_not_use_is_stopped(micro):
    done = micro("infra", "down", "kafka")
    assert (done.code, done.err) == (0, "nothing to stop: no server runs here\n")


@pytest.mark.usefixtures("stack")
def test_beside_a_stack_without_servers_all_of_them_are(micro):
    assert micro("infra", "down").code == 0


def test_one_that_is_somebody_elses_is_not_stopped_and_so_not_refused(on_servers, micro):
    folder = on_servers.home / ".micro" / "infra"
    folder.mkdir()
    (folder / "use.json").write_text(
        '{"postgres": "postgresql://db.example/x", "redis": "redis://cache.example"}'
    )
    assert micro("infra", "down").code == 0
