"""Credentials as attackers send them, over a real socket: what is not exactly a valid one speaks for nobody."""

from __future__ import annotations

import pytest
from rig.client import problem
from rig.written import get

from micro.security.keys import SigningKey
from micro.security.sources import StaticKeys
from micro.security.tokens import TokenVerifier
from micro.spec.gateway import Route

NOW = object()
"""Stands for the time of the test."""
CLAIMS = {"iss": "micro:user", "aud": "micro", "sub": "ann", "role": "user", "iat": NOW, "exp": NOW}


@pytest.fixture
def keyed(world):
    """A world whose route wants a token, and the key that signs them."""
    world.key = SigningKey.generate(world.clock)
    world.tokens = TokenVerifier([StaticKeys("micro:user", [world.key.public])], clock=world.clock)
    world.serve(Route(path="/", service="app", auth="required"))
    return world


def signed(world, **changes):
    """A token whose signature is right whatever it says; a claim of `None` is left out."""
    now = int(world.clock.now().timestamp())
    claims = CLAIMS | {"iat": now, "exp": now + 600} | changes
    return world.key.sign({name: value for name, value in claims.items() if value is not None}).encode(
        "ascii"
    )


def accepted(world, client, *fields):
    """Have a request with these fields answered by the origin."""
    client.send(get(b"/", *fields))
    world.origin.request().answer()
    assert client.answer().status == 200


def refused(world, client, *fields):
    """Have a request with these fields refused as one without a credential."""
    answer = client.ask(get(b"/", *fields))
    problem(answer, 401)
    assert answer[b"www-authenticate"].startswith(b"Bearer")
    assert world.is_silent()


SOUND = {
    "as it should be": {},
    "an audience among others": {"aud": ["other", "micro"]},
    "from now on": {"nbf": 0},
}
UNSOUND = {
    "no expiry": {"exp": None},
    "an expiry in words": {"exp": "tomorrow"},
    "an expiry that is no number": {"exp": float("nan")},
    "an expiry that is true": {"exp": True},
    "no audience": {"aud": None},
    "no audience in a list": {"aud": []},
    "another audience": {"aud": "micro2"},
    "a part of the audience": {"aud": "mic"},
    "other audiences": {"aud": ["other", "micro "]},
    "no subject": {"sub": None},
    "a subject that is a number": {"sub": 5},
    "no issuer": {"iss": None},
    "the stack for an issuer": {"iss": "micro:stack"},
    "for later": {"nbf": 1e12},
    "made later": {"iat": 1e12},
    "a service's, by an issuer of people": {"kind": "service"},
    "an API key's, by an issuer of people": {"kind": "api_key"},
}


@pytest.mark.parametrize(
    ("judged", "changes"),
    [
        *(pytest.param(accepted, changes, id=name) for name, changes in SOUND.items()),
        *(pytest.param(refused, changes, id=name) for name, changes in UNSOUND.items()),
    ],
)
def test_2_10_a_token_that_is_signed_well_is_judged_by_what_it_says(keyed, judged, changes):
    client = keyed.connect()
    token = signed(keyed, **changes)
    for _ in range(3):
        judged(keyed, client, b"Authorization: Bearer " + token)
    accepted(keyed, client, b"Authorization: Bearer " + signed(keyed))


KIDS = ["", "../../../dev/null", "' or 1=1 --", "http://evil.example/jwks", "a" * 5000, "\x00"]


@pytest.mark.parametrize("kid", KIDS)
def test_2_10_the_id_of_a_key_is_a_name_and_nothing_else(keyed, kid):
    keyed.key.kid = kid
    client = keyed.connect()
    refused(keyed, client, b"Authorization: Bearer " + signed(keyed))


def test_2_10_a_huge_token_is_refused_as_any_other(keyed):
    client = keyed.connect()
    for size in (8_000, 30_000):
        refused(keyed, client, b"Authorization: Bearer " + b"a." * (size // 2))
    accepted(keyed, client, b"Authorization: Bearer " + signed(keyed))


@pytest.mark.parametrize("scheme", [b"bearer", b"BEARER", b"BeArEr"])
def test_2_10_the_scheme_is_taken_in_any_case(keyed, scheme):
    client = keyed.connect()
    token = signed(keyed)
    for _ in range(2):
        accepted(keyed, client, b"Authorization: %b %b" % (scheme, token))


@pytest.mark.parametrize("glue", [b"", b"\t", b", ", b'="', b": "])
def test_2_10_what_only_looks_like_a_bearer_token_is_none(keyed, glue):
    client = keyed.connect()
    token = signed(keyed)
    accepted(keyed, client, b"Authorization: Bearer " + token)
    refused(keyed, client, b"Authorization: Bearer" + glue + token)


def test_2_10_of_two_credentials_none_counts(keyed):
    good, bad = b"Authorization: Bearer " + signed(keyed), b"Authorization: Bearer x"
    client = keyed.connect()
    for fields in ((good, bad), (bad, good), (good, good), (good, b"Authorization:")):
        refused(keyed, client, *fields)
    refused(keyed, client, good.replace(b"Authorization", b"Proxy-Authorization"))
    refused(keyed, client, good.replace(b"Authorization", b"X-Authorization"))
    accepted(keyed, client, good)


def test_2_10_a_credential_that_connection_names_is_judged_all_the_same(keyed):
    client = keyed.connect()
    refused(keyed, client, b"Authorization: Bearer x", b"Connection: Authorization")
