"""Where keys come from."""

from __future__ import annotations

import pytest

from micro.errors import CallError
from micro.security.sources import ServiceKeys, StaticKeys
from micro.testing import FakeCaller

PATH = "/auth/jwks.json"


@pytest.fixture
def caller():
    return FakeCaller()


@pytest.fixture
def source(caller):
    return ServiceKeys("micro:user", service="user", caller=caller)


async def test_static_keys_are_what_was_given(key):
    """Nothing is asked."""
    source = StaticKeys("micro:stack", [key.public])
    assert await source.keys() == [key.public]
    assert source.issuer == "micro:stack"


async def test_a_services_keys_are_called_for(source, caller, key):
    """As the gateway, with a time limit."""
    caller.answer("user", "GET", PATH, json={"keys": [key.public]})
    assert await source.keys() == [key.public]
    (call,) = caller.calls
    assert (call.source, call.target, call.path) == ("gateway", "user", PATH)
    assert 0 < call.timeout <= 5


async def test_an_unreachable_service_is_a_call_error(source):
    """Not an empty set, which would refuse every token."""
    with pytest.raises(CallError):
        await source.keys()


@pytest.mark.parametrize(
    ("status", "json"),
    [(500, {"keys": []}), (200, {"keys": {}}), (200, {}), (200, []), (200, None), (404, None)],
)
async def test_an_answer_that_is_no_key_set_is_a_call_error(source, caller, status, json):
    """It says who answered what."""
    caller.answer("user", "GET", PATH, status=status, json=json)
    with pytest.raises(CallError, match=r"user answered /auth/jwks\.json"):
        await source.keys()


async def test_members_that_are_no_keys_are_passed_over(source, caller, key):
    """The rest is used."""
    caller.answer("user", "GET", PATH, json={"keys": [1, None, key.public]})
    assert await source.keys() == [key.public]
