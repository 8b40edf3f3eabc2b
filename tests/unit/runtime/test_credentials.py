"""Every credential from its table in `micro.toml` to the service, which verifies for itself who asks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from serving import StreamServer
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from micro.clock import SystemClock
from micro.config.read import read_config
from micro.runtime.assemble import assemble
from micro.runtime.inprocess import ask
from micro.security.api_keys import digest_of, new_api_key
from micro.service import Service
from micro.web.auth import authenticate, resources_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY = new_api_key(SystemClock())
PRIVATE = rsa.generate_private_key(65537, 2048)
ISSUER = "https://id.example"

TOML = """
[gateway]
port = 0
[gateway.api_keys.ci]
hash = "{hash}"
role = "bot"
scopes = ["read"]
[gateway.auth]
issuers = ["stack"]
[gateway.auth.providers.id]
issuer = "{issuer}"
jwks = "{jwks}"
audience = ["shop"]
algorithms = ["RS256"]
role_claim = "job"
[[gateway.routes]]
path = "/who"
service = "who"
auth = "required"
accept = ["token", "api_key"]
[[gateway.routes]]
path = "/who/reads"
service = "who"
auth = "required"
accept = ["token", "api_key"]
scopes = ["read"]
roles = ["bot", "clerk"]
[services.who]
service = "who.service:service"
"""


async def who(request: Any) -> JSONResponse:
    identity = await authenticate(request.scope["headers"], resources_of(request.scope).verifier)
    sent = {name.decode() for name, _ in request.scope["headers"]}
    return JSONResponse(
        {
            "subject": identity.subject,
            "role": identity.role,
            "kind": identity.kind,
            "issuer": identity.issuer,
            "scopes": sorted(identity.scopes),
            "key": "x-api-key" in sent,
        }
    )


@pytest.fixture
async def jwks() -> AsyncIterator[str]:
    """Where the provider publishes its key."""
    key = {**json.loads(RSAAlgorithm.to_jwk(PRIVATE.public_key())), "kid": "1"}
    body = json.dumps({"keys": [key]}).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async with StreamServer(serve) as server:
        yield f"http://127.0.0.1:{server.port}/keys"


@pytest.fixture
async def system(tmp_path: Path, jwks: str) -> AsyncIterator[Any]:
    (tmp_path / "micro.toml").write_text(TOML.format(hash=digest_of(KEY), issuer=ISSUER, jwks=jwks))
    app = Starlette(routes=[Route("/who", who), Route("/who/reads", who)])
    config = read_config(tmp_path, {})
    services = {"who": Service("who", app=app)}
    system = assemble(config, config.profile(), services=services)
    await system.open()
    yield system
    await system.close()


async def asked(system: Any, path: str = "/who", **fields: str) -> Any:
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return await ask(system.gateway, "GET", path, headers=[(b"host", b"localhost"), *headers])


def provided(**changes: Any) -> str:
    now = int(SystemClock().now().timestamp())
    claims = {
        "iss": ISSUER,
        "aud": "shop",
        "sub": "eva",
        "iat": now,
        "exp": now + 60,
        "job": "clerk",
        **changes,
    }
    return jwt.encode(claims, PRIVATE, algorithm="RS256", headers={"kid": "1"})


async def test_the_holder_of_an_api_key_is_known_to_the_service(system: Any) -> None:
    reply = await asked(system, x_api_key=KEY)
    assert reply.status == 200
    assert reply.json() == {
        "subject": "ci",
        "role": "bot",
        "kind": "api_key",
        "issuer": "micro:stack",
        "scopes": ["read"],
        "key": False,
    }


async def test_a_provider_s_user_is_known_to_the_service(system: Any) -> None:
    reply = await asked(system, authorization=f"Bearer {provided(scope='read')}")
    assert reply.status == 200
    assert reply.json() == {
        "subject": "eva",
        "role": "clerk",
        "kind": "user",
        "issuer": ISSUER,
        "scopes": ["read"],
        "key": False,
    }


async def test_a_service_s_token_and_one_of_the_command_line_are_accepted(system: Any) -> None:
    keys = system.shared.keys
    for token, kind in (
        (keys.service_token("who"), "service"),
        (keys.token("ada", role="user", ttl=60), "user"),
    ):
        reply = await asked(system, authorization=f"Bearer {token}")
        assert (reply.status, reply.json()["kind"]) == (200, kind)


async def test_scopes_and_roles_count_for_every_kind_of_credential(system: Any) -> None:
    keys = system.shared.keys
    scoped = keys.token("ada", role="clerk", ttl=60, scopes=frozenset({"read", "write"}))
    unscoped = keys.token("ada", role="clerk", ttl=60)
    expected = [
        ({"x_api_key": KEY}, 200),
        ({"authorization": f"Bearer {scoped}"}, 200),
        ({"authorization": f"Bearer {unscoped}"}, 403),
        ({"authorization": f"Bearer {provided(scope='read')}"}, 200),
        ({"authorization": f"Bearer {provided(scope='read', job='other')}"}, 403),
        ({"authorization": f"Bearer {provided()}"}, 403),
        ({"authorization": f"Bearer {keys.service_token('who')}"}, 403),
        ({}, 401),
    ]
    for fields, status in expected:
        assert (await asked(system, "/who/reads", **fields)).status == status


async def test_a_provider_s_token_is_not_taken_for_another_audience(system: Any) -> None:
    reply = await asked(system, authorization=f"Bearer {provided(aud='micro')}")
    assert (reply.status, reply.json()["detail"]) == (401, "The token is for another audience.")
