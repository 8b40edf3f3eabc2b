"""Scopes and roles of routes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from micro.errors import ConfigurationError
from micro.gateway.exchange import Exchange
from micro.gateway.policies.access import Access
from micro.spec.gateway import Route


@pytest.fixture
def serve(bench, echo):
    def serve(auth="required", **needs):
        needs = {name: frozenset(values) for name, values in needs.items()}
        return bench.serve(echo, routes=[Route(path="/", service="app", auth=auth, **needs)])

    return serve


def holder(bench, *, role="user", scopes=(), **changes):
    """A token of its own with these."""
    known = bench.tokens.known
    token = f"holder{len(known)}"
    known[token] = replace(known["good"], role=role, scopes=frozenset(scopes), **changes)
    return [("authorization", f"Bearer {token}")]


@pytest.mark.parametrize(
    ("has", "status"), [({"a", "b"}, 200), ({"a", "b", "c"}, 200), ({"a"}, 403), (set(), 403), ({"ab"}, 403)]
)
async def test_all_scopes_are_needed(serve, bench, has, status):
    answer = await serve(scopes={"a", "b"}).ask("GET", headers=holder(bench, scopes=has))
    assert answer.status == status


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("owner", 200), ("user", 403), ("", 403)])
async def test_one_of_the_roles_is_enough(serve, bench, role, status):
    answer = await serve(roles={"admin", "owner"}).ask("GET", headers=holder(bench, role=role))
    assert answer.status == status


async def test_both_are_needed_where_both_are_named(serve, bench):
    serve(scopes={"a"}, roles={"admin"})
    assert (await bench.ask("GET", headers=holder(bench, role="admin"))).status == 403
    assert (await bench.ask("GET", headers=holder(bench, scopes={"a"}))).status == 403
    assert (await bench.ask("GET", headers=holder(bench, role="admin", scopes={"a"}))).status == 200


async def test_a_refusal_says_what_lacks(serve, bench, echo):
    """RFC 6750 section 3.1, RFC 9209 section 2.3.18."""
    answer = await serve(scopes={"b", "a"}).ask("GET", headers=holder(bench))
    assert answer["www-authenticate"] == 'Bearer error="insufficient_scope", scope="a b"'
    assert answer["proxy-status"] == "micro; error=http_request_denied"
    assert answer.json()["detail"] == "This needs the scope a b."
    assert echo.scopes == []


async def test_a_refused_role_does_not_tell_which_would_do(serve, bench):
    answer = await serve(roles={"secret-role"}).ask("GET", headers=holder(bench))
    assert (answer.status, answer["www-authenticate"]) == (403, 'Bearer error="insufficient_scope"')
    assert b"secret-role" not in answer.body


async def test_no_token_is_401_before_it_is_403(serve):
    assert (await serve(scopes={"a"}).ask("GET")).status == 401


async def test_a_service_s_token_is_asked_as_any_other(serve, bench):
    headers = holder(bench, role="service", kind="service", issuer="micro:stack")
    assert (await serve().ask("GET", headers=headers)).status == 200
    assert (await serve(roles={"service"}).ask("GET", headers=headers)).status == 200
    assert (await serve(roles={"admin"}).ask("GET", headers=headers)).status == 403


async def test_methods_of_one_path_have_needs_of_their_own(bench, echo):
    routes = [
        Route(path="/", service="app", methods=frozenset({"GET"})),
        Route(
            path="/",
            service="app",
            methods=frozenset({"DELETE"}),
            auth="required",
            roles=frozenset({"admin"}),
        ),
    ]
    bench.serve(echo, routes=routes)
    assert (await bench.ask("GET")).status == 200
    assert (await bench.ask("DELETE", headers=holder(bench))).status == 403
    assert (await bench.ask("DELETE", headers=holder(bench, role="admin"))).status == 200


@pytest.mark.parametrize("auth", ["none", "optional"])
@pytest.mark.parametrize("needs", [{"scopes": {"a"}}, {"roles": {"a"}}])
def test_needs_without_a_required_token_are_refused(serve, auth, needs):
    """They would let strangers pass."""
    with pytest.raises(ConfigurationError, match='need auth = "required"'):
        serve(auth, **needs)


@pytest.mark.parametrize("scope", ["a b", 'a"', "a\\b", "ä"])
def test_a_scope_that_no_token_can_have_is_refused(serve, scope):
    with pytest.raises(ConfigurationError, match="can't be a scope"):
        serve(scopes={scope})


def test_nobody_has_nothing():
    exchange = Exchange("GET", b"/", [])
    exchange.request_id = "x"
    answer = Access(roles=frozenset({"admin"})).on_request(exchange)
    assert answer is not None
    assert answer.status == 403


async def test_the_needs_are_explained(serve, bench):
    serve(scopes={"b", "a"}, roles={"admin", "owner"})
    policies = bench.gateway.explain("GET", "/")["policies"]
    assert "access: needs the scopes a, b and the role admin or owner" in policies
    assert str(Access(scopes=frozenset({"a"}))) == "access: needs the scopes a"
    assert str(Access(roles=frozenset({"a"}))) == "access: needs the role a"
