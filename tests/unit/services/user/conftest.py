"""The user service by itself, with passwords that cost nothing."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from micro.security.tokens import TokenVerifier
from micro.services.user.service import user_service
from micro.testing import FakeClock, ServiceHarness

MIGRATIONS = Path(importlib.import_module("micro.services.user").__file__).parent / "migrations"
PASSWORD = "correct horse"


class PlainPasswords:
    """A hash that is none; counts how often it is asked."""

    def __init__(self) -> None:
        self.checked = 0

    async def hash(self, password):
        return f"hash of {password}"

    async def matches(self, password, hash):
        self.checked += 1
        return hash == f"hash of {password}"


class Own:
    """The service's own published keys, as others fetch them."""

    issuer = "micro:user"

    def __init__(self) -> None:
        self.harness = None

    async def keys(self):
        return (await self.harness.anonymous.get("/auth/jwks.json")).json()["keys"]


@pytest.fixture
def passwords():
    return PlainPasswords()


@pytest.fixture
async def harness(tmp_path, passwords, open_database):
    """Tokens of tests and those that the service issues are both accepted."""
    service, clock = user_service(passwords), FakeClock()
    store = await open_database("user", clock)
    async with ServiceHarness(service, tmp_path, migrations=MIGRATIONS, clock=clock, store=store) as made:
        yield made


@pytest.fixture
async def genuine(tmp_path, passwords, open_database):
    """The same, with a verifier that accepts only what the service has issued."""
    own, clock = Own(), FakeClock()
    verifier = TokenVerifier([own], clock=clock)
    service = user_service(passwords)
    store = await open_database("genuine", clock)
    async with ServiceHarness(
        service, tmp_path, migrations=MIGRATIONS, clock=clock, verifier=verifier, store=store
    ) as made:
        own.harness = made
        yield made


@pytest.fixture
def register():
    """Register somebody at a harness; what the service answers."""

    async def at(harness, email="ana@example.com", name="Ana", password=PASSWORD):
        answer = await harness.anonymous.post(
            "/users", json={"email": email, "name": name, "password": password}
        )
        assert answer.status == 201, answer.body
        return answer.json()

    return at


@pytest.fixture
def log_in():
    """Log somebody in at a harness; the tokens."""

    async def at(harness, email="ana@example.com", password=PASSWORD):
        answer = await harness.anonymous.post("/auth/login", json={"email": email, "password": password})
        assert answer.status == 200, answer.body
        return answer.json()

    return at
