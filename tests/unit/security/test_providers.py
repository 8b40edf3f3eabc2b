"""Issuers outside the stack: real keys of every algorithm, published by a real server."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from hashlib import sha256

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms
from serving import StreamServer

from micro.errors import CallError, ConfigurationError, TokenError
from micro.security.issuers import COOL_DOWN, MAX_AGE
from micro.security.providers import provided
from micro.security.tokens import STACK, StaticKeys, TokenVerifier
from micro.spec.gateway import Provider

ISSUER = "https://id.example/"
AUDIENCE = "https://api.example"

PRIVATE = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
    "PS256": rsa.generate_private_key(65537, 2048),
}


def published(algorithm, kid=None):
    library = get_default_algorithms()[algorithm]
    jwk = json.loads(library.to_jwk(PRIVATE[algorithm].public_key()))
    jwk.pop("key_ops", None)
    return {**jwk, "kid": kid or algorithm}


class Server:
    """Answers every request with what a test says, and counts them."""

    def __init__(self):
        self.body = b""
        self.status = 200
        self.head = ""
        self.asked = []
        self.hold = asyncio.Event()
        self.hold.set()

    def publish(self, *keys):
        self.body = json.dumps({"keys": keys}).encode()

    async def serve(self, reader, writer):
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        await self.hold.wait()
        head = f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(self.body)}\r\n{self.head}\r\n"
        writer.write(head.encode() + self.body)
        writer.close()


@pytest.fixture
async def server():
    server = Server()
    server.publish(*(published(name) for name in PRIVATE))
    async with StreamServer(server.serve) as listening:
        server.url = f"http://127.0.0.1:{listening.port}/keys"
        yield server


@pytest.fixture
def make(server, clock):
    """A verifier that knows the provider besides the stack."""

    def make(key=None, **settings):
        provider = Provider(
            **{"issuer": ISSUER, "jwks": server.url, "audience": (AUDIENCE,), "algorithms": tuple(PRIVATE)}
            | settings
        )
        sources, rules = provided({"id": provider})
        own = [] if key is None else [StaticKeys(STACK, [key.public])]
        return TokenVerifier([*own, *sources], clock=clock, rules=rules)

    return make


@pytest.fixture
def claims(clock):
    now = int(clock.now().timestamp())
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "ana", "iat": now, "exp": now + 900}


def signed(claims, algorithm, *, private=None, **header):
    kid = header.pop("kid", algorithm)
    return jwt.encode(
        claims, private or PRIVATE[algorithm], algorithm=algorithm, headers={"kid": kid, **header}
    )


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def refused(verifier, token):
    with pytest.raises(TokenError) as caught:
        await verifier.verify(token)
    assert verifier.cached(token) is None
    return str(caught.value)


@pytest.mark.parametrize("algorithm", PRIVATE)
async def test_a_token_of_every_algorithm_is_accepted(make, claims, algorithm):
    verifier = make()
    identity = await verifier.verify(signed({**claims, "scope": "read write"}, algorithm))
    assert (identity.subject, identity.issuer, identity.kind) == ("ana", ISSUER, "user")
    assert identity.scopes == {"read", "write"}


async def test_the_keys_are_fetched_once_for_all_of_them(make, claims, server):
    verifier = make()
    tokens = [signed(claims, algorithm) for algorithm in PRIVATE]
    await asyncio.gather(*(verifier.verify(token) for token in tokens))
    assert len(server.asked) == 1
    assert server.asked[0].startswith(b"GET /keys HTTP/1.1\r\n")
    assert verifier.cached(tokens[0]) is not None


@pytest.mark.parametrize("algorithm", PRIVATE)
async def test_an_algorithm_that_is_not_on_the_list_is_refused(make, claims, server, algorithm):
    """Though the key is published and the signature genuine."""
    verifier = make(algorithms=tuple(name for name in PRIVATE if name != algorithm))
    assert "in a way" in await refused(verifier, signed(claims, algorithm))
    assert server.asked == []


@pytest.mark.parametrize(("algorithm", "other"), [("PS256", "RS256"), ("RS256", "ES256"), ("ES256", "ES384")])
async def test_a_key_is_not_used_for_the_algorithm_of_another(make, claims, server, algorithm, other):
    """RFC 8725 section 3.1: each key with exactly one; here the header and the key differ."""
    server.publish({**published(algorithm), "alg": algorithm})
    token = signed(claims, other, kid=algorithm)
    assert "not known" in await refused(make(), token)


async def test_an_rsa_key_that_names_no_algorithm_is_good_for_both(make, claims, server):
    key = published("RS256")
    key.pop("alg", None)
    server.publish(key)
    verifier = make()
    assert await verifier.verify(signed(claims, "RS256"))
    assert await verifier.verify(signed(claims, "PS256", private=PRIVATE["RS256"], kid="RS256"))


async def test_two_keys_of_different_kinds_may_share_an_id(make, claims, server):
    """RFC 7517 section 4.5."""
    server.publish(published("RS256", "1"), published("ES256", "1"))
    verifier = make()
    for algorithm in ("RS256", "ES256"):
        assert await verifier.verify(signed(claims, algorithm, kid="1"))


async def test_keys_without_an_id_are_known_by_their_thumbprint(make, claims, server):
    key = published("ES256")
    del key["kid"]
    server.publish(key)
    print_ = sha256(
        json.dumps({name: key[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":")).encode()
    )
    kid = base64.urlsafe_b64encode(print_.digest()).rstrip(b"=").decode()
    assert await make().verify(signed(claims, "ES256", kid=kid))


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "HS384", "HS512"])
async def test_no_signature_and_shared_secrets_are_refused(make, claims, alg):
    """RFC 8725 section 2.1, with the public key taken for the secret."""
    pem = PRIVATE["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = f"{encoded({'alg': alg, 'kid': 'RS256'})}.{encoded(claims)}"
    signature = hmac.new(pem, head.encode(), sha256).digest()
    for end in ("", base64.urlsafe_b64encode(signature).rstrip(b"=").decode()):
        await refused(make(), f"{head}.{end}")


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "s"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"},
    ],
)
async def test_a_published_secret_is_not_used(make, claims, server, key):
    server.publish(key)
    token = jwt.encode(claims, b"secret" * 8, algorithm="HS256", headers={"kid": "s"})
    await refused(make(), token)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"aud": "https://other.example"}, "another audience"),
        ({"aud": None}, "not valid"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "not valid"),
        ({"nbf": 1 << 40}, "not valid yet"),
        ({"iat": 1 << 40}, "not valid yet"),
        ({"sub": None}, "not valid"),
        ({"iss": "https://evil.example"}, "issuer"),
    ],
)
async def test_claims_are_checked_as_strictly_as_the_stack_s(make, claims, change, reason):
    changed = {name: value for name, value in (claims | change).items() if value is not None}
    assert reason in await refused(make(), signed(changed, "RS256"))


async def test_times_have_30_seconds_for_clocks_that_differ(make, claims, clock):
    now = int(clock.now().timestamp())
    verifier = make()
    assert await verifier.verify(signed({**claims, "exp": now - 29, "nbf": now + 30}, "ES256"))
    assert "expired" in await refused(verifier, signed({**claims, "exp": now - 30}, "ES256"))


async def test_any_of_the_audiences_is_enough(make, claims):
    verifier = make(audience=("one", "two"))
    assert await verifier.verify(signed({**claims, "aud": ["x", "two"]}, "ES256"))
    assert "audience" in await refused(verifier, signed(claims, "ES256"))


@pytest.mark.parametrize("crit", [["exp"], [], None, 1])
async def test_critical_extensions_are_refused(make, claims, crit):
    """RFC 7515 section 4.1.11: none is understood here, and a list of none is malformed."""
    assert "kind" in await refused(make(), signed(claims, "ES256", crit=crit, exp=1))


@pytest.mark.parametrize(("typ", "taken"), [("JWT", True), ("at+jwt", True), ("application/AT+JWT", True)])
async def test_access_tokens_may_say_what_they_are(make, claims, typ, taken):
    """RFC 9068 section 2.1."""
    assert await make().verify(signed(claims, "ES256", typ=typ))


@pytest.mark.parametrize("typ", ["logout+jwt", "dpop+jwt", "secevent+jwt", ""])
async def test_tokens_for_other_uses_are_refused(make, claims, typ):
    """RFC 8725 section 3.12."""
    header = encoded({"alg": "ES256", "kid": "ES256", "typ": typ})
    assert "kind" in await refused(make(), f"{header}.{encoded(claims)}.AAAA")


@pytest.mark.parametrize(
    ("claim", "role"),
    [
        ("admin", "admin"),
        (["admin"], "admin"),
        (["admin", "user"], ""),
        ([], ""),
        (7, ""),
        ({"a": 1}, ""),
        (None, ""),
    ],
)
async def test_the_role_is_where_the_configuration_says(make, claims, claim, role):
    verifier = make(role_claim="https://id.example/role")
    identity = await verifier.verify(
        signed({**claims, "https://id.example/role": claim, "role": "x"}, "ES256")
    )
    assert identity.role == role


@pytest.mark.parametrize("kind", ["service", "api_key", 7])
async def test_a_provider_cannot_speak_for_services(make, claims, kind):
    """Whatever its tokens call themselves."""
    assert (await make().verify(signed({**claims, "kind": kind}, "ES256"))).kind == "user"


async def test_a_provider_and_the_stack_cannot_speak_for_each_other(make, claims, key):
    """RFC 8725 section 3.8."""
    verifier = make(key)
    forged = signed({**claims, "iss": STACK, "aud": "micro"}, "EdDSA")
    await refused(verifier, forged)
    await refused(verifier, key.sign(claims))
    own = key.sign({**claims, "iss": STACK, "aud": "micro", "role": "user"})
    assert (await verifier.verify(own)).issuer == STACK
    assert "way" in await refused(verifier, signed({**claims, "iss": STACK, "aud": "micro"}, "RS256"))


async def test_a_rotated_key_is_found_after_the_cool_down(make, claims, server, clock):
    verifier = make()
    await verifier.verify(signed(claims, "ES256"))
    server.publish(published("ES256", "next"))
    token = signed(claims, "ES256", kid="next")
    assert "not known" in await refused(verifier, token)
    await clock.advance(COOL_DOWN)
    assert await verifier.verify(token)
    assert len(server.asked) == 2


async def test_a_withdrawn_key_is_forgotten(make, claims, server, clock):
    verifier = make()
    await verifier.verify(signed(claims, "ES256"))
    server.publish(published("RS256"))
    await clock.advance(MAX_AGE)
    clock.jump(-MAX_AGE)
    assert "not known" in await refused(verifier, signed({**claims, "jti": "2"}, "ES256"))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": 1}', b"\xff", b"[" * 100_000, b"<html>"])
async def test_what_is_no_key_set_says_nothing_about_the_token(make, claims, server, body):
    """It may be fine: the client must not throw it away."""
    server.body = body
    with pytest.raises(CallError):
        await make().verify(signed(claims, "ES256"))


@pytest.mark.parametrize("status", [204, 301, 404, 500])
async def test_another_answer_than_200_says_nothing_either(make, claims, server, status):
    """A redirect is not followed."""
    server.status, server.body = status, b""
    server.head = f"location: {server.url}\r\n"
    with pytest.raises(CallError):
        await make().verify(signed(claims, "ES256"))
    assert len(server.asked) == 1


async def test_members_that_are_no_keys_are_passed_over(make, claims, server):
    server.publish(1, None, {}, {"kty": "EC", "crv": "P-256", "kid": "x"}, published("ES256"))
    assert await make().verify(signed(claims, "ES256"))


@pytest.mark.parametrize("issuer", ["micro:stack", "micro:user", "micro:anything"])
def test_a_provider_may_not_be_called_like_the_stack_s_own(issuer):
    provider = Provider(issuer=issuer, jwks="http://x", audience=("a",))
    with pytest.raises(ConfigurationError, match=r"gateway\.auth\.providers\.id\.issuer"):
        provided({"id": provider})


def test_two_providers_of_one_issuer_are_refused():
    provider = Provider(issuer=ISSUER, jwks="http://x", audience=("a",))
    with pytest.raises(ConfigurationError, match=r"providers\.b\.issuer"):
        provided({"a": provider, "b": provider})


@pytest.mark.parametrize("field", ["audience", "algorithms"])
def test_a_provider_without_audience_or_algorithms_is_refused(field):
    settings = {"issuer": ISSUER, "jwks": "http://x", "audience": ("a",), field: ()}
    with pytest.raises(ConfigurationError, match=rf"providers\.id\.{field}: must name at least one"):
        provided({"id": Provider(**settings)})
