"""The stack's own key and the tokens it signs."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from micro.errors import ConfigurationError
from micro.security.stack_key import SERVICE_TTL, StackIssuer, load_or_create
from micro.security.tokens import TokenVerifier


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "stack.json"


@pytest.fixture
def issuer(key, clock):
    return StackIssuer(key, clock=clock)


@pytest.fixture
def verifier(issuer, clock):
    return TokenVerifier([issuer], clock=clock)


def test_the_key_is_made_once(path):
    """And found again after a restart."""
    assert load_or_create(path).kid == load_or_create(path).kid


def test_nobody_else_can_read_it(path):
    """File 0600, folder 0700, whatever the umask."""
    before = os.umask(0)
    try:
        load_or_create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_no_draft_stays_behind(path):
    """One file, whole."""
    load_or_create(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["stack.json"]


def test_several_starts_at_once_agree_on_one_key(path):
    """One makes it, all use it."""
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_or_create(path).kid, range(16)))
    assert len(set(keys)) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["stack.json"]


def test_a_key_that_was_made_meanwhile_is_used(path, clock, monkeypatch):
    """The slower of two processes throws its draft away."""
    first = load_or_create(path)
    path.rename(path.with_name("aside"))
    link = os.link

    def slower(source, target):
        path.with_name("aside").rename(path)
        link(source, target)

    monkeypatch.setattr("os.link", slower)
    assert load_or_create(path).kid == first.kid


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604])
def test_a_key_that_others_can_read_is_refused(path, mode):
    """With the command that mends it."""
    load_or_create(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        load_or_create(path)


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"kty":"OKP"}'])
def test_a_broken_key_is_refused_and_left_alone(path, text):
    """Whoever removes it decides to end all tokens."""
    load_or_create(path)
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="remove the file"):
        load_or_create(path)
    assert path.read_text() == text


async def test_a_token_for_a_person(issuer, verifier):
    """What `micro token` prints."""
    identity = await verifier.verify(issuer.token("ana", role="admin", ttl=60))
    assert (identity.subject, identity.role, identity.kind) == ("ana", "admin", "user")
    assert identity.issuer == "micro:stack"


async def test_a_token_for_a_service(issuer, verifier):
    """It proves to be that service of the stack."""
    identity = await verifier.verify(issuer.service_token("task"))
    assert (identity.subject, identity.kind) == ("task", "service")


async def test_a_services_token_is_kept_while_it_is_good(issuer, verifier, clock):
    """And renewed before it expires, so a call never goes out with a dead one."""
    first = issuer.service_token("task")
    assert issuer.service_token("task") == first
    assert issuer.service_token("user") != first
    await clock.advance(SERVICE_TTL - 61)
    assert issuer.service_token("task") == first
    await clock.advance(1)
    second = issuer.service_token("task")
    assert second != first
    assert await verifier.verify(second)


async def test_its_published_key_has_no_secret(issuer):
    """It goes to every service."""
    (published,) = await issuer.keys()
    assert "d" not in published
