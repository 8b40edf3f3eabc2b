"""Tokens, by the rules of RFC 8725: what is accepted, and every kind that must not be."""

from __future__ import annotations

import base64
import hmac
import json
from hashlib import sha256

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.errors import CallError, TokenError
from micro.security.keys import KeyRing, SigningKey, public_key
from micro.security.tokens import AUDIENCE, LEEWAY, STACK, Grant, StaticKeys, TokenVerifier, issue
from micro.testing import FakeClock

ISSUER = "micro:user"


def encoded(value) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture
def now(clock):
    return int(clock.now().timestamp())


@pytest.fixture
def claims(now):
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ana",
        "role": "user",
        "kind": "user",
        "iat": now,
        "exp": now + 900,
        "jti": "1",
    }


@pytest.fixture
def verifier(clock, key):
    return TokenVerifier([StaticKeys(ISSUER, [key.public])], clock=clock)


async def refused(verifier, token) -> str:
    with pytest.raises(TokenError) as caught:
        await verifier.verify(token)
    assert verifier.cached(token) is None
    return str(caught.value)


async def test_a_good_token_speaks_for_its_subject(verifier, clock, key, now):
    """With role, issuer, expiry and kind."""
    token = issue(key, Grant(issuer=ISSUER, subject="ana", role="admin", ttl=900), clock=clock)
    identity = await verifier.verify(token)
    assert (identity.subject, identity.role, identity.issuer) == ("ana", "admin", ISSUER)
    assert (identity.expires, identity.kind, identity.scopes) == (now + 900, "user", frozenset())


async def test_a_ring_issues_as_a_key_does(verifier, clock, key):
    """With its current key."""
    token = issue(KeyRing(key), Grant(issuer=ISSUER, subject="ana", role="user", ttl=900), clock=clock)
    assert (await verifier.verify(token)).subject == "ana"


async def test_scopes_are_words(verifier, key, claims):
    """As RFC 8693 section 4.2 writes them."""
    identity = await verifier.verify(key.sign({**claims, "scope": "read write"}))
    assert identity.scopes == {"read", "write"}


async def test_a_verified_token_is_remembered(verifier, key, claims):
    """And answered without work from then on."""
    token = key.sign(claims)
    assert verifier.cached(token) is None
    identity = await verifier.verify(token)
    assert verifier.cached(token) is identity
    assert await verifier.verify(token) is identity


async def test_a_remembered_token_is_forgotten_when_it_expires(verifier, key, claims, clock):
    """By the wall clock, so also after a machine slept."""
    token = key.sign(claims)
    await verifier.verify(token)
    clock.jump(900 + LEEWAY - 1)
    assert verifier.cached(token) is not None
    clock.jump(1)
    await clock.advance(0.01)  # what the clock said is believed for so long
    assert verifier.cached(token) is None
    assert await refused(verifier, token) == "The token has expired."


async def test_the_memory_is_bounded_and_keeps_the_lately_used(clock, key, claims):
    """The least recently used leaves first."""
    verifier = TokenVerifier([StaticKeys(ISSUER, [key.public])], clock=clock, max_cached=2)
    first, second, third = (key.sign({**claims, "jti": name}) for name in "abc")
    await verifier.verify(first)
    await verifier.verify(second)
    verifier.cached(first)
    await verifier.verify(third)
    assert verifier.cached(second) is None
    assert verifier.cached(first) is not None
    assert verifier.cached(third) is not None


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
async def test_a_token_without_a_signature_is_refused(verifier, key, claims, alg):
    """RFC 8725 section 2.1, in any spelling."""
    header = encoded({"alg": alg, "kid": key.kid, "typ": "JWT"})
    for signature in ("", encoded(b"x")):
        await refused(verifier, f"{header}.{encoded(claims)}.{signature}")


@pytest.mark.parametrize("secret", ["x", "raw", "jwk", "pem"])
async def test_hmac_with_the_public_key_is_refused(verifier, key, claims, secret):
    """RFC 8725 section 2.1: everybody has the public key, in whatever form it is taken for the secret."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    published = public_key(key.public)
    material = {
        "x": key.public["x"].encode(),
        "raw": published.public_bytes_raw(),
        "jwk": json.dumps(key.public).encode(),
        "pem": published.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }[secret]
    signed = f"{encoded({'alg': 'HS256', 'kid': key.kid})}.{encoded(claims)}"
    signature = hmac.new(material, signed.encode(), sha256).digest()
    await refused(verifier, f"{signed}.{encoded(signature)}")


@pytest.mark.parametrize("alg", ["HS256", "RS256", "ES256", "PS512", "eddsa", "EdDSA ", ["EdDSA"], None, 1])
async def test_any_other_algorithm_is_refused(verifier, key, claims, alg):
    """The list has one entry (RFC 8725 section 3.1)."""
    genuine = key.sign(claims).rpartition(".")[2]
    await refused(verifier, f"{encoded({'alg': alg, 'kid': key.kid})}.{encoded(claims)}.{genuine}")


async def test_a_token_of_another_key_is_refused(verifier, key, other_key, claims):
    """Also when it claims the right key's id."""
    assert "not known" in await refused(verifier, other_key.sign(claims))
    forged = jwt.encode(claims, other_key._private(), algorithm="EdDSA", headers={"kid": key.kid})
    assert await refused(verifier, forged) == "The token is not valid."


async def test_changed_claims_are_refused(verifier, key, claims):
    """The signature is over them."""
    header, _, signature = key.sign(claims).split(".")
    await refused(verifier, f"{header}.{encoded({**claims, 'role': 'admin'})}.{signature}")


async def test_a_key_in_the_header_is_not_used(verifier, other_key, claims):
    """RFC 8725 section 3.10: neither `jwk` nor `jku` nor `x5u` is looked at."""
    for extra in ({"jwk": other_key.public}, {"jku": "http://evil.example"}, {"x5u": "http://evil.example"}):
        forged = jwt.encode(
            claims, other_key._private(), algorithm="EdDSA", headers={"kid": other_key.kid, **extra}
        )
        await refused(verifier, forged)


async def test_critical_extensions_are_refused(verifier, key, claims):
    """RFC 7515 section 4.1.11: none is understood here."""
    token = jwt.encode(
        claims, key._private(), algorithm="EdDSA", headers={"kid": key.kid, "crit": ["b64"], "b64": True}
    )
    await refused(verifier, token)


@pytest.mark.parametrize("kid", [None, 7, "", "../../etc/passwd", "' or 1=1 --", "a" * 5_000])
async def test_a_strange_key_id_is_only_unknown(verifier, key, claims, kid):
    """RFC 8725 section 3.10: it is compared, nothing else."""
    header = encoded({"alg": "EdDSA", "kid": kid})
    await refused(verifier, f"{header}.{encoded(claims)}.{key.sign(claims).rpartition('.')[2]}")


async def test_a_missing_key_id_is_refused(verifier, key, claims):
    """No key is guessed."""
    await refused(verifier, jwt.encode(claims, key._private(), algorithm="EdDSA"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"exp": -LEEWAY}, "The token has expired."),
        ({"exp": -(10**9)}, "The token has expired."),
        ({"nbf": LEEWAY + 1}, "The token is not valid yet."),
        ({"iat": LEEWAY + 1}, "The token is not valid yet."),
    ],
)
async def test_times_are_checked(verifier, key, claims, now, change, reason):
    """With 30 seconds for clocks that differ."""
    moved = {name: now + offset for name, offset in change.items()}
    assert await refused(verifier, key.sign({**claims, **moved})) == reason


@pytest.mark.parametrize("change", [{"exp": 1 - LEEWAY}, {"nbf": LEEWAY}, {"iat": LEEWAY}])
async def test_times_within_the_leeway_are_accepted(verifier, key, claims, now, change):
    """Just inside it."""
    moved = {name: now + offset for name, offset in change.items()}
    assert await verifier.verify(key.sign({**claims, **moved}))


@pytest.mark.parametrize("missing", ["exp", "iat", "sub", "iss", "aud"])
async def test_required_claims_are_required(verifier, key, claims, missing):
    """A token that never expires, or is for nobody, is none."""
    del claims[missing]
    await refused(verifier, key.sign(claims))


@pytest.mark.parametrize(
    "change",
    [
        {"exp": "tomorrow"},
        {"exp": None},
        {"exp": True},
        {"exp": []},
        {"nbf": "now"},
        {"iat": {}},
        {"sub": 7},
        {"sub": None},
        {"role": ["admin"]},
        {"kind": 1},
        {"scope": ["read"]},
        {"iss": 1},
        {"iss": None},
        {"aud": 1},
    ],
)
async def test_claims_of_the_wrong_type_are_refused(verifier, key, claims, change):
    """Not converted."""
    body = {**claims, **change}
    token = jwt.PyJWS().encode(
        json.dumps(body).encode(), key._private(), algorithm="EdDSA", headers={"kid": key.kid}
    )
    await refused(verifier, token)


@pytest.mark.parametrize("aud", ["other", ["other"], [], "", "micro2", "MICRO"])
async def test_a_token_for_another_audience_is_refused(verifier, key, claims, aud):
    """RFC 8725 section 3.9."""
    reason = await refused(verifier, key.sign({**claims, "aud": aud}))
    assert reason == ("The token is for another audience." if aud else "The token is not valid.")


async def test_one_audience_of_several_is_enough(verifier, key, claims):
    """RFC 7519 section 4.1.3."""
    assert await verifier.verify(key.sign({**claims, "aud": ["other", AUDIENCE]}))


async def test_the_audience_can_be_set(clock, key, claims):
    """For tokens of somebody else's identity provider."""
    verifier = TokenVerifier([StaticKeys(ISSUER, [key.public])], clock=clock, audience="shop")
    assert await verifier.verify(key.sign({**claims, "aud": "shop"}))
    await refused(verifier, key.sign(claims))


@pytest.mark.parametrize("iss", ["evil", "", "micro:stack", "micro:user "])
async def test_a_token_of_another_issuer_is_refused(verifier, key, claims, iss):
    """However well signed."""
    assert "issuer" in await refused(verifier, key.sign({**claims, "iss": iss}))


async def test_one_issuer_cannot_speak_for_another(clock, key, other_key, claims):
    """RFC 8725 section 3.8: a key counts for its own issuer only."""
    sources = [StaticKeys(ISSUER, [key.public]), StaticKeys(STACK, [other_key.public])]
    verifier = TokenVerifier(sources, clock=clock)
    await refused(verifier, key.sign({**claims, "iss": STACK}))
    await refused(verifier, other_key.sign(claims))
    assert (await verifier.verify(other_key.sign({**claims, "iss": STACK}))).issuer == STACK


async def test_only_the_stack_speaks_for_services(clock, key, claims):
    """A service token makes its bearer trusted; the user service must not be able to make one."""
    verifier = TokenVerifier([StaticKeys(ISSUER, [key.public]), StaticKeys(STACK, [key.public])], clock=clock)
    assert "services" in await refused(verifier, key.sign({**claims, "kind": "service"}))
    assert (await verifier.verify(key.sign({**claims, "kind": "service", "iss": STACK}))).kind == "service"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "a.b",
        "a" * 10_000,
        "é.é.é",
        "\ud800.a.b",
        "e30.e30.e30",
        encoded(b"[" * 6_000) + ".e30.x",
        encoded(b"\xff") + ".e30.x",
        " . . ",
        "null.null.null",
    ],
)
async def test_what_is_no_token_is_refused(verifier, token):
    """And nothing worse happens."""
    assert await refused(verifier, token)


async def test_a_token_longer_than_8_kib_is_refused(verifier, key, claims):
    """Even a genuine one: no header of that size gets through a server."""
    assert "malformed" in await refused(verifier, key.sign({**claims, "scope": "a" * 9_000}))


@given(st.text(alphabet="abcXYZ019-_.=+/ é", max_size=80))
async def test_no_text_makes_anything_but_a_token_error(text):
    """Never another exception."""
    clock = FakeClock()
    verifier = TokenVerifier([StaticKeys(ISSUER, [SigningKey.generate(clock).public])], clock=clock)
    with pytest.raises(TokenError):
        await verifier.verify(text)


@given(st.integers(min_value=0, max_value=2_000), st.integers(min_value=1, max_value=255))
async def test_no_single_changed_byte_is_accepted(place, change):
    """Header, claims and signature are all under the signature; only the last character has spare bits."""
    clock = FakeClock()
    key = SigningKey.generate(clock)
    verifier = TokenVerifier([StaticKeys(ISSUER, [key.public])], clock=clock)
    token = issue(key, Grant(issuer=ISSUER, subject="ana", role="user", ttl=900), clock=clock)
    place %= len(token) - 1
    changed = token[:place] + chr(ord(token[place]) ^ change) + token[place + 1 :]
    with pytest.raises(TokenError):
        await verifier.verify(changed)


async def test_while_the_keys_cannot_be_had_it_is_no_token_error(clock, key, claims):
    """The token may be fine: the client must not throw it away."""

    class Cut:
        issuer = ISSUER

        async def keys(self):
            raise CallError("user: refused")

    with pytest.raises(CallError):
        await TokenVerifier([Cut()], clock=clock).verify(key.sign(claims))
