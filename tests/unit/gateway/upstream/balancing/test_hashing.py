"""The same instance for the same key."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micro.gateway.exchange import Exchange
from micro.gateway.upstream.hashing import BUCKETS, Rendezvous, key_of
from micro.gateway.upstream.instance import Instance
from micro.spec.upstream import BreakerSpec


def instances_of(*numbers):
    return tuple(Instance(f"http://10.0.0.{number}:80", BreakerSpec()) for number in numbers)


def using(instances, hash_by="header:x-key"):
    balance = Rendezvous(hash_by)
    balance.use(instances)
    return balance


def request(key=b"", *, path=b"/", client="203.0.113.7", cookie=b""):
    headers = [(b"x-key", key)] * bool(key) + [(b"cookie", cookie)] * bool(cookie)
    exchange = Exchange("GET", path, headers)
    exchange.client = client
    return exchange


REQUESTS = [request(b"%d" % number) for number in range(3000)]


def choices(balance):
    return {exchange: balance.pick(exchange) for exchange in REQUESTS}


def test_a_key_always_meets_the_same_instance():
    balance = using(instances_of(1, 2, 3, 4))
    assert choices(balance) == choices(balance)


def test_gateways_choose_alike_whatever_the_order_of_their_instances():
    one, other = instances_of(1, 2, 3, 4), instances_of(3, 4, 1, 2)
    first = {exchange: instance.url for exchange, instance in choices(using(one)).items()}
    second = {exchange: instance.url for exchange, instance in choices(using(other)).items()}
    assert first == second


@pytest.mark.parametrize("count", [2, 5, 20])
def test_keys_are_spread_evenly(count):
    picked = Counter(choices(using(instances_of(*range(count)))).values())
    fair = len(REQUESTS) / count
    assert len(picked) == count
    assert all(0.7 * fair < number < 1.3 * fair for number in picked.values())


@settings(max_examples=30)
@given(
    before=st.sets(st.integers(0, 250), min_size=2, max_size=12),
    leaving=st.sets(st.integers(0, 11), max_size=5),
    coming=st.sets(st.integers(251, 255), max_size=3),
)
def test_nothing_moves_but_to_who_comes_and_from_who_leaves(before, leaving, coming):
    there = instances_of(*sorted(before))
    left = {instance for number, instance in enumerate(there) if number in leaving}
    new = instances_of(*coming)
    after = tuple(instance for instance in there if instance not in left) + new
    if not after:
        return
    balance = using(there)
    old = choices(balance)
    balance.use(after)
    for exchange, instance in choices(balance).items():
        assert instance is old[exchange] or old[exchange] in left or instance in new


def test_keys_come_back_to_an_instance_that_comes_back():
    there = instances_of(1, 2, 3)
    balance = using(there)
    before = choices(balance)
    balance.use(there[1:])
    assert there[0] not in choices(balance).values()
    balance.use(there)
    assert choices(balance) == before


def test_where_the_first_choice_is_out_of_the_question_the_second_is_always_the_same():
    there = instances_of(1, 2, 3, 4)
    balance = using(there)
    for exchange in REQUESTS[:200]:
        first = balance.pick(exchange)
        others = [instance for instance in there if instance is not first]
        second = balance.among(exchange, others)
        assert second is balance.among(exchange, others[::-1])
        balance.use(others)
        assert balance.pick(exchange) is second
        balance.use(there)


def test_an_instance_in_slow_start_takes_its_keys_one_after_the_other_and_keeps_them():
    there = instances_of(1, 2, 3)
    balance = using(there)
    final = choices(balance)
    shares, had = [], set()
    for weight in (0.05, 0.25, 0.5, 0.75, 1.0):
        there[0].weight = weight
        balance.use(there)
        now = choices(balance)
        has = {exchange for exchange, instance in now.items() if instance is there[0]}
        assert had <= has
        assert all(now[exchange] is there[0] for exchange in has if final[exchange] is there[0])
        had = has
        shares.append(len(has))
    assert shares == sorted(shares)
    assert shares[0] < 0.15 * shares[-1]
    assert 0.35 * shares[-1] < shares[2] < 0.65 * shares[-1]


def test_instances_that_all_start_share_as_if_none_did():
    there = instances_of(1, 2, 3)
    balance = using(there)
    before = choices(balance)
    for instance in there:
        instance.weight = 0.05
    balance.use(there)
    assert choices(balance) == before


def test_where_none_that_may_takes_the_key_the_best_of_them_gets_it():
    there = instances_of(1, 2, 3)
    there[0].weight = there[1].weight = 0.05
    balance = using(there)
    assert {balance.among(exchange, there[:2]) for exchange in REQUESTS} == set(there[:2])


def test_what_is_remembered_is_bounded():
    balance = using(instances_of(1, 2))
    for number in range(3 * BUCKETS):
        balance.pick(request(b"%d" % number))
    assert len(balance._known) <= BUCKETS


@pytest.mark.parametrize(
    ("hash_by", "exchange", "key"),
    [
        ("ip", request(client="2001:db8::1"), b"2001:db8::1"),
        ("path", request(path=b"/orders/1"), b"/orders/1"),
        ("header:X-Key", request(b"ann"), b"ann"),
        ("header:x-other", request(b"ann", client="192.0.2.1"), b"192.0.2.1"),
        ("cookie:sid", request(cookie=b"a=1; sid=s3; b=2"), b"s3"),
        ("cookie:sid", request(cookie=b"a=1, sid=s4"), b"s4"),
        ("cookie:sid", request(cookie=b"xsid=1; sidx=2; SID=3", client="192.0.2.1"), b"192.0.2.1"),
        ("cookie:sid", request(cookie=b"sid", client="192.0.2.1"), b"192.0.2.1"),
        ("cookie:sid", request(client="192.0.2.1"), b"192.0.2.1"),
    ],
)
def test_the_key_is_read_from_where_the_setting_says_and_else_is_the_address(hash_by, exchange, key):
    assert key_of(hash_by)(exchange) == key
