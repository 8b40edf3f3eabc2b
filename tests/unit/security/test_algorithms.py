"""A key checks the signatures of its own kind, and no others."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from micro.security.algorithms import algorithms_of, thumbprint, verification_key

# RFC 7638 section 3.1
RFC_7638 = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF"
    "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0"
    "zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF"
    "Cur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}


def number(value: int) -> str:
    raw = value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def elliptic(curve, name, size):
    point = ec.generate_private_key(curve).public_key().public_numbers()
    x, y = (
        base64.urlsafe_b64encode(c.to_bytes(size, "big")).rstrip(b"=").decode() for c in (point.x, point.y)
    )
    return {"kty": "EC", "crv": name, "x": x, "y": y}


P256 = elliptic(ec.SECP256R1(), "P-256", 32)
OKP = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


@pytest.mark.parametrize(
    ("jwk", "algorithms"),
    [
        (OKP, ("EdDSA",)),
        (P256, ("ES256",)),
        (elliptic(ec.SECP384R1(), "P-384", 48), ("ES384",)),
        (elliptic(ec.SECP521R1(), "P-521", 66), ("ES512",)),
        ({**RFC_7638, "alg": "RS256"}, ("RS256",)),
        ({**RFC_7638, "alg": "PS256"}, ("PS256",)),
        ({"kty": "RSA", "n": RFC_7638["n"], "e": "AQAB", "use": "sig"}, ("RS256", "PS256")),
        ({**OKP, "key_ops": ["verify"]}, ("EdDSA",)),
    ],
)
def test_the_kind_of_a_key_decides_what_it_is_used_for(jwk, algorithms):
    assert algorithms_of(jwk) == algorithms
    assert verification_key(jwk) == verification_key(dict(jwk))


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        {"kty": "OKP", "crv": "X25519", "x": OKP["x"]},
        {"kty": "OKP"},
        {"kty": "EC", "crv": "secp256k1", "x": "", "y": ""},
        {"kty": "EC", "crv": ["P-256"]},
        {"kty": ["RSA"]},
        {**P256, "alg": "RS256"},
        {**P256, "alg": "HS256"},
        {**RFC_7638, "alg": "HS256"},
        {**RFC_7638, "alg": "RS1"},
        {**RFC_7638, "use": "enc"},
        {**RFC_7638, "key_ops": ["encrypt"]},
        {**RFC_7638, "key_ops": 7},
    ],
)
def test_a_key_of_another_kind_or_for_another_use_is_for_nothing(jwk):
    with pytest.raises(ValueError, match="key"):
        algorithms_of(jwk)


@pytest.mark.parametrize("bits", [1024, 2047, 8193, 16384])
def test_an_rsa_key_that_is_too_short_or_too_long_is_refused(bits):
    with pytest.raises(ValueError, match=r"RSA|too long"):
        verification_key({"kty": "RSA", "n": number((1 << (bits - 1)) + 1), "e": "AQAB"})


@pytest.mark.parametrize("exponent", [1, 2, 65536, 1 << 32, (1 << 40) + 1])
def test_an_rsa_key_with_a_bad_exponent_is_refused(exponent):
    with pytest.raises(ValueError, match=r".+"):
        verification_key({**RFC_7638, "e": number(exponent)})


@pytest.mark.parametrize(
    "change",
    [
        {"x": P256["y"]},
        {"y": None},
        {"y": P256["y"][:-4]},
        {"x": "!!!!"},
        {"crv": "P-384"},
        {"x": "A" * 43, "y": "A" * 43},
    ],
)
def test_a_point_that_is_not_on_the_curve_is_refused(change):
    """RFC 8725 section 3.4: invalid curve attacks."""
    with pytest.raises(ValueError, match=r".+"):
        verification_key({**P256, **change})


def test_a_private_key_that_is_published_checks_as_its_public_half():
    private = rsa.generate_private_key(65537, 2048)
    numbers = private.private_numbers()
    jwk = {"kty": "RSA", "n": number(numbers.public_numbers.n), "e": "AQAB", "d": number(numbers.d)}
    assert verification_key(jwk) == private.public_key()


def test_the_thumbprint_is_that_of_the_standard():
    assert thumbprint(RFC_7638) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    # RFC 8037 appendix A.3
    assert thumbprint(OKP) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize(
    "jwk", [{}, {"kty": "oct"}, {"kty": ["RSA"]}, {"kty": "EC", "crv": "P-256", "x": "A"}]
)
def test_what_is_no_whole_key_has_no_thumbprint(jwk):
    with pytest.raises(ValueError, match="missing"):
        thumbprint(jwk)
