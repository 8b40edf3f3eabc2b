"""Signing keys and what of them is published."""

from __future__ import annotations

import json

import jwt
import pytest

from micro.security.keys import KeyRing, SigningKey, public_jwk, public_key

# RFC 8037, appendix A: a private key, its public key, and their thumbprint.
RFC_8037 = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
RFC_8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_key_id_is_the_thumbprint_of_rfc_7638():
    """Checked against the vector of RFC 8037 appendix A.3."""
    assert SigningKey(RFC_8037).kid == RFC_8037_THUMBPRINT


def test_a_token_is_a_jws_with_its_key_named(key):
    """Algorithm, key id and type are in the header."""
    token = key.sign({"sub": "ana"})
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": key.kid, "typ": "JWT"}
    assert jwt.decode(token, public_key(key.public), algorithms=["EdDSA"]) == {"sub": "ana"}


def test_a_key_survives_being_written_down(key):
    """And signs as before."""
    again = SigningKey.from_json(key.to_json())
    assert again.kid == key.kid
    assert jwt.decode(again.sign({"a": 1}), public_key(key.public), algorithms=["EdDSA"]) == {"a": 1}


def test_a_key_comes_from_the_clocks_chance():
    """So a test can have the same one again; the system clock's chance is the machine's entropy."""
    from micro.testing import FakeClock

    assert SigningKey.generate(FakeClock(seed=1)).kid == SigningKey.generate(FakeClock(seed=1)).kid
    assert SigningKey.generate(FakeClock(seed=1)).kid != SigningKey.generate(FakeClock(seed=2)).kid


def test_the_secret_is_in_no_text_form(key):
    """Neither printed nor published."""
    secret = json.loads(key.to_json())["d"]
    assert secret not in repr(key)
    assert secret not in str(key)
    assert secret not in json.dumps(key.public)
    assert "d" not in key.public


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"kty":"RSA"}',
        '{"kty":"OKP","crv":"X25519","x":"a","d":"b"}',
        json.dumps({**RFC_8037, "d": 7}),
        json.dumps({**RFC_8037, "d": "!"}),
        json.dumps({**RFC_8037, "d": "AAAA"}),
        json.dumps({**RFC_8037, "x": "é"}),
        json.dumps({k: v for k, v in RFC_8037.items() if k != "d"}),
    ],
)
def test_what_is_no_private_key_is_a_value_error(text):
    """Whatever is wrong with it."""
    with pytest.raises(ValueError):
        SigningKey.from_json(text)


def test_a_published_key_has_what_a_verifier_needs():
    """And no member of the private part, nor anything else that was there."""
    published = public_jwk({**RFC_8037, "x5c": ["…"], "kid": "mine"})
    assert published == {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": RFC_8037["x"],
        "kid": RFC_8037_THUMBPRINT,
        "alg": "EdDSA",
        "use": "sig",
    }


@pytest.mark.parametrize("jwk", [{}, {"kty": "EC", "crv": "P-256"}, {"kty": "oct", "k": "AAAA"}])
def test_keys_of_other_kinds_are_a_value_error(jwk):
    """One algorithm, one kind of key."""
    with pytest.raises(ValueError, match="not an Ed25519 key"):
        public_key(jwk)


def test_a_ring_signs_with_its_current_key(key, other_key):
    """And publishes all of them, the current one first, each once."""
    ring = KeyRing(key, [other_key.public, key.public])
    assert jwt.get_unverified_header(ring.sign({}))["kid"] == key.kid
    assert [jwk["kid"] for jwk in ring.jwks()["keys"]] == [key.kid, other_key.kid]


def test_a_ring_never_publishes_a_secret(key, other_key):
    """Even when it is given private keys."""
    ring = KeyRing(key, [json.loads(other_key.to_json())])
    assert all("d" not in jwk for jwk in ring.jwks()["keys"])
