"""Which signatures a published key can check: those of its own kind, and no others (RFC 7518 section 3, RFC 8037)."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from micro.security.keys import ALGORITHM, public_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey: TypeAlias = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey

RSA_BITS = range(2048, 8192 + 1)
"""Shorter keys are broken (RFC 7518 section 3.3), longer ones take long to check with."""
_RSA = ("RS256", "PS256")
_CURVES = {
    "P-256": ("ES256", "SECP256R1", 32),
    "P-384": ("ES384", "SECP384R1", 48),
    "P-521": ("ES512", "SECP521R1", 66),
}
_MEMBERS = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}
_MOST = 1400
"""Characters of a number, more than the largest key has."""


def algorithms_of(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    """The algorithms whose signatures the key may check.

    Those of its type and curve; where it names one itself (`alg`), that one. Raises `ValueError` for a key of another
    type, a symmetric one above all, and for one that is not meant for signatures (`use`, `key_ops`).
    """
    uses = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        raise ValueError("not a key for signatures")
    possible: tuple[str, ...] = ()
    kind, curve = jwk.get("kty"), str(jwk.get("crv"))
    if kind == "OKP" and curve == "Ed25519":
        possible = (ALGORITHM,)
    elif kind == "EC" and curve in _CURVES:
        possible = (_CURVES[curve][0],)
    elif kind == "RSA":
        possible = _RSA
    allowed = tuple(name for name in possible if jwk.get("alg", name) == name)
    if not allowed:
        raise ValueError("a kind of key that is not used")
    return allowed


def verification_key(jwk: Mapping[str, Any]) -> PublicKey:
    """The key that checks signatures. Looks at the public members only. Raises `ValueError` where they make no good key."""
    kind = jwk.get("kty")
    if kind == "EC":
        return _elliptic(jwk)
    return _rsa(jwk) if kind == "RSA" else public_key(jwk)


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The key's id by RFC 7638, for an issuer that gives it none. Raises `ValueError`."""
    try:
        members = {name: jwk[name] for name in _MEMBERS[jwk["kty"]]}
    except (KeyError, TypeError) as error:
        raise ValueError("a member of the key is missing") from error
    digest = hashlib.sha256(msgspec.json.encode(members)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _rsa(jwk: Mapping[str, Any]) -> RSAPublicKey:
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 # loaded when first used

    modulus, exponent = _number(jwk.get("n")), _number(jwk.get("e"))
    if modulus.bit_length() not in RSA_BITS:
        raise ValueError(f"an RSA key of {modulus.bit_length()} bits is not used")
    if exponent >= 1 << 32:
        raise ValueError("an RSA key with a large exponent is not used")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _elliptic(jwk: Mapping[str, Any]) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 # loaded when first used

    _, name, size = _CURVES[jwk["crv"]]
    x, y = _number(jwk.get("x"), size), _number(jwk.get("y"), size)
    return ec.EllipticCurvePublicNumbers(x, y, getattr(ec, name)()).public_key()


def _number(text: Any, size: int | None = None) -> int:
    """A number in base64url (RFC 7518 section 2), of `size` bytes where that is fixed."""
    if not isinstance(text, str) or len(text) > _MOST:
        raise ValueError("a member of the key is missing or too long")
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if size is not None and len(raw) != size:
        raise ValueError(f"a member of the key has {len(raw)} bytes instead of {size}")
    return int.from_bytes(raw, "big")
