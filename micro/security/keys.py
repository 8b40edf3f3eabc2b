"""Ed25519 signing keys, as JSON Web Keys (RFC 7517, RFC 8037)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from micro.clock import Clock

ALGORITHM = "EdDSA"
Jwk = dict[str, str]

_SIZE = 32


class SigningKey:
    """A private key that signs tokens. Its text form never shows the secret.

    `kid` is the key's thumbprint (RFC 7638), so one key has one id wherever it is published.
    """

    def __init__(self, jwk: Mapping[str, str]) -> None:
        """Take a private JWK. Raises `ValueError` when it is not a whole Ed25519 one."""
        self.public = public_jwk(jwk)
        self.kid = self.public["kid"]
        self._secret = _bytes(jwk.get("d"))
        self._key: Ed25519PrivateKey | None = None

    @classmethod
    def generate(cls, clock: Clock) -> SigningKey:
        """A new key from the clock's chance, which the system clock takes from the machine's entropy."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - when first used

        secret = clock.randbits(8 * _SIZE).to_bytes(_SIZE, "big")
        public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        return cls({"kty": "OKP", "crv": "Ed25519", "x": _text(public), "d": _text(secret)})

    @classmethod
    def from_json(cls, text: str | bytes) -> SigningKey:
        """The key that `to_json` wrote. Raises `ValueError`."""
        return cls(msgspec.json.decode(text, type=dict[str, str]))

    def to_json(self) -> str:
        """The private JWK. Whoever has it can sign as this key."""
        return msgspec.json.encode({**self.public, "d": _text(self._secret)}).decode()

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A compact JWS over `claims`, with ``alg``, ``kid`` and ``typ`` in its header."""
        import jwt  # noqa: PLC0415 - when first used

        return jwt.encode(dict(claims), self._private(), algorithm=ALGORITHM, headers={"kid": self.kid})

    def _private(self) -> Ed25519PrivateKey:
        if self._key is None:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - when first used

            self._key = Ed25519PrivateKey.from_private_bytes(self._secret)
        return self._key

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"


class KeyRing:
    """The key that signs now, and every key whose tokens may still be valid."""

    def __init__(self, current: SigningKey, others: Sequence[Mapping[str, str]] = ()) -> None:
        """`others` are JWKs: the next key before it is used, old ones until their tokens have expired."""
        self.current = current
        published = {jwk["kid"]: jwk for jwk in map(public_jwk, others)}
        self._keys = {current.kid: current.public, **published}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Sign with the current key; see `SigningKey.sign`."""
        return self.current.sign(claims)

    def jwks(self) -> dict[str, list[Jwk]]:
        """The JWK set to publish: all keys, without a secret."""
        return {"keys": list(self._keys.values())}


def public_jwk(jwk: Mapping[str, Any]) -> Jwk:
    """The public part of an Ed25519 JWK, with ``kid``, ``alg`` and ``use``. Raises `ValueError` for another key."""
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise ValueError("not an Ed25519 key")
    x = _text(_bytes(jwk.get("x")))
    # RFC 7638: the required members in lexical order, without white space.
    thumbprint = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()).digest()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": _text(thumbprint), "alg": ALGORITHM, "use": "sig"}


def public_key(jwk: Mapping[str, Any]) -> Ed25519PublicKey:
    """The key that checks signatures. Raises `ValueError` when `jwk` is not an Ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - when first used

    return Ed25519PublicKey.from_public_bytes(_bytes(public_jwk(jwk)["x"]))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("a member of the key is missing")  # noqa: TRY004 - a malformed document is a value error
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("a member of the key is not base64url") from error
    if len(raw) != _SIZE:
        raise ValueError(f"a member of the key has {len(raw)} bytes instead of {_SIZE}")
    return raw
