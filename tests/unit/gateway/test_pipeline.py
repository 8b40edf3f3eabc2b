"""Policies: two methods, in a fixed order, at once or awaited; filters of bodies."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType

import pytest

from micro.gateway.exchange import Answer, Exchange
from micro.gateway.pipeline import Pipeline, admit, methods, release
from micro.spec.gateway import Route
from micro.spec.terms import Rate


class Note:
    """A policy that writes down that it was asked."""

    def __init__(self, seen, name, verdict=None):
        self.seen, self.name, self.verdict = seen, name, verdict

    def on_request(self, exchange):
        self.seen.append(self.name)
        return self.verdict() if callable(self.verdict) else self.verdict

    def on_response(self, exchange):
        self.seen.append(f"{self.name} back")


class RequestOnly:
    def on_request(self, exchange):
        return None


class ResponseOnly:
    def on_response(self, exchange):
        return None


@pytest.fixture
def exchange():
    return Exchange("GET", b"/", [])


def waiting(answer=None):
    async def wait():
        return answer

    return wait


def test_policies_are_asked_in_order_and_nothing_means_go_on(exchange):
    seen = []
    checks = methods([Note(seen, "a"), ResponseOnly(), Note(seen, "b")], "on_request")
    assert admit(checks, exchange) is None
    assert seen == ["a", "b"]


def test_the_first_answer_ends_it(exchange):
    seen, answer = [], Answer(403)
    checks = methods([Note(seen, "a"), Note(seen, "b", answer), Note(seen, "c")], "on_request")
    assert admit(checks, exchange) is answer
    assert seen == ["a", "b"]


async def test_a_policy_that_waits_is_awaited_and_the_rest_come_after_it(exchange):
    seen, answer = [], Answer(403)
    policies = [
        Note(seen, "a", waiting()),
        Note(seen, "b"),
        Note(seen, "c", waiting()),
        Note(seen, "d", answer),
        Note(seen, "e"),
    ]
    verdict = admit(methods(policies, "on_request"), exchange)
    assert seen == ["a"]
    assert await verdict is answer
    assert seen == ["a", "b", "c", "d"]


async def test_an_answer_that_had_to_be_waited_for_ends_it(exchange):
    seen, answer = [], Answer(403)
    policies = [Note(seen, "a", waiting(answer)), Note(seen, "b")]
    assert await admit(methods(policies, "on_request"), exchange) is answer
    assert seen == ["a"]


async def test_waiting_for_nothing_lets_it_go_on(exchange):
    assert await admit(methods([Note([], "a", waiting())], "on_request"), exchange) is None


def test_answers_pass_the_policies_the_other_way_round():
    seen = []
    pipeline = Pipeline(
        [Note(seen, "global")],
        [Note(seen, "a"), RequestOnly(), Note(seen, "b")],
        upstream=None,
        service="x",
        timeout=1,
    )
    assert len(pipeline.requests) == 3
    assert list(release(pipeline.responses, Exchange("GET", b"/", []))) == []
    assert seen == ["b back", "a back", "global back"]


class Shout:
    """Writes the body in capitals and adds a word at the end."""

    def __init__(self, word=b""):
        self.word = word

    def on_response(self, exchange):
        exchange.fields.append((b"x-shout", b"1"))
        return Shouting(self.word)

    def __str__(self):
        return "shout"


class Shouting:
    def __init__(self, word):
        self.word = word

    def feed(self, data):
        return data.upper()

    def end(self):
        return self.word


@pytest.fixture
def shouting(bench, monkeypatch):
    """A gateway with a policy of the user's own in front of every route."""

    def serve(app, *words, **spec):
        module = ModuleType("shouts")
        for number, word in enumerate(words):
            setattr(module, f"shout{number}", partial(Shout, word))
        monkeypatch.setitem(sys.modules, "shouts", module)
        names = tuple(f"shouts:shout{number}" for number in range(len(words)))
        return bench.serve(app, routes=[Route(path="/", service="app", policies=names)], **spec)

    return serve


async def test_a_filter_changes_the_body_piece_by_piece(shouting):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    bench = shouting(app, b"!")
    answer = await bench.ask("GET")
    assert (answer.body, answer.complete, answer["x-shout"]) == (b"ONETWO!", True, "1")
    assert "content-length" not in answer
    assert [message.get("body") for message in bench.wires[0].messages] == [None, b"ONE", b"TWO!"]
    assert bench.log[0].bytes == 7


async def test_filters_follow_each_other(shouting, make_echo):
    bench = shouting(make_echo(body=b"x"), b"a", b"b")
    assert (await bench.ask("GET")).body == b"XBa"


async def test_an_answer_of_the_gateways_own_passes_the_filters_and_keeps_a_right_length(shouting, echo):
    bench = shouting(echo, b"!", max_body=1)
    answer = await bench.ask("POST", body=b"xx")
    assert answer.status == 413
    assert answer.body.isupper()
    assert answer.body.endswith(b"!")
    assert int(answer["content-length"]) == len(answer.body)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_what_has_no_body_is_not_filtered(shouting, make_echo, method, status):
    answer = await shouting(make_echo(status=status), b"!").ask(method)
    assert answer.body == b""


def names(policies):
    return [type(policy).__name__ for policy in policies]


def test_the_order_of_a_request_is_fixed(bench, echo):
    from micro.spec.gateway import Cors

    bench.serve(
        echo,
        routes=[Route(path="/", service="app", auth="required")],
        rate_limit=Rate(1, 1.0),
        cors=Cors(origins=("https://a.example",)),
    )
    plan = bench.gateway.plan
    assert names(plan.global_policies) == [
        "Identification",
        "Framing",
        "Loop",
        "KnownHost",
        "SecurityHeaders",
        "CrossOrigin",
    ]
    assert names(plan.rows[0][1].policies) == ["Shedding", "BodyLimit", "RateLimit", "Authentication"]


def test_what_is_off_is_not_there(bench, echo):
    plan = bench.serve(echo, security_headers=False, max_requests=0).gateway.plan
    assert names(plan.global_policies) == ["Identification", "Framing", "Loop", "KnownHost"]
    assert names(plan.rows[0][1].policies) == ["BodyLimit"]


def test_every_policy_says_what_it_does(bench, echo):
    from micro.spec.gateway import Cors

    bench.serve(
        echo,
        routes=[Route(path="/", service="app", auth="optional")],
        rate_limit=Rate(1, 1.0),
        cors=Cors(origins=("https://a.example",)),
    )
    plan = bench.gateway.plan
    for policy in (*plan.global_policies, *plan.rows[0][1].policies):
        assert ": " in str(policy)
        assert "object at" not in str(policy)


class Skippable:
    """Says that it need not be asked again."""

    by_head = steady = True

    def on_request(self, exchange):
        return None

    def on_response(self, exchange):
        return None


class Changed(Skippable):
    """Changes what it inherits, and says nothing of its own."""

    def on_request(self, exchange):
        return Answer(403)


def test_who_changes_a_policy_that_may_be_skipped_is_asked_every_time():
    def compiled(policy):
        return Pipeline([], [policy], upstream=object(), service="app", timeout=0)

    assert compiled(Skippable()).asked == ()
    assert len(compiled(Changed()).asked) == 1
    assert len(compiled(Skippable()).steady) == 1
    assert compiled(Changed()).steady == ()


def test_an_answer_that_comes_again_is_not_rendered_anew_for_the_sake_of_a_policy_of_ours(bench, echo):
    """Each says that it is steady or that it only adds; one that forgot to would make its route's answers dearer."""
    from micro.spec.gateway import RateRule
    from micro.spec.upstream import BreakerSpec

    bench.serve(
        echo,
        routes=[
            Route(path="/", service="app", auth="required", breaker=BreakerSpec()),
            Route(path="/two", service="app", rate_limits=(RateRule(limit=Rate(5, 1.0), by="route"),)),
        ],
        rate_limit=Rate(1, 1.0),
    )
    (_, one), (_, two) = bench.gateway.plan.rows
    assert (names(one.policies)[2], names(two.policies)[2]) == ("RateLimit", "RateLimits")
    assert one.adding
    assert two.adding
