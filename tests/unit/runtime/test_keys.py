"""The stack's own key is made when the first token asks for it, and proves services as well as people."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from micro.clock import SystemClock
from micro.errors import ConfigurationError
from micro.runtime.keys import FILE, StackKeys
from micro.security.keys import SigningKey
from micro.security.tokens import TokenVerifier

if TYPE_CHECKING:
    from pathlib import Path


async def test_one_key_signs_for_people_and_services(tmp_path: Path) -> None:
    keys = StackKeys(tmp_path / "keys", clock=SystemClock())
    assert not (tmp_path / "keys").exists()
    verifier = TokenVerifier([keys], clock=SystemClock())
    person = await verifier.verify(keys.token("ada", role="admin", ttl=60))
    service = await verifier.verify(keys.service_token("task"))
    assert (person.subject, person.role, person.kind) == ("ada", "admin", "user")
    assert (service.subject, service.kind) == ("task", "service")
    assert stat.S_IMODE((tmp_path / "keys" / FILE).stat().st_mode) == 0o600


async def test_the_next_process_uses_the_same_key(tmp_path: Path) -> None:
    first, second = (StackKeys(tmp_path, clock=SystemClock()) for _ in range(2))
    assert await first.keys() == await second.keys()
    assert first.identity("shop") == second.identity("shop")


def test_a_stack_is_its_name_and_its_key(tmp_path: Path) -> None:
    one, other = (StackKeys(tmp_path / name, clock=SystemClock()) for name in ("one", "other"))
    assert len({keys.identity(name) for keys in (one, other) for name in ("micro", "shop")}) == 4


async def test_a_secret_of_the_environment_is_the_key_and_no_file_is_made(tmp_path: Path) -> None:
    text = SigningKey.generate(SystemClock()).to_json()
    keys = StackKeys(tmp_path / ".micro" / "keys", clock=SystemClock(), environ={"MICRO_STACK_KEY": text})
    verifier = TokenVerifier([keys], clock=SystemClock())
    assert (await verifier.verify(keys.service_token("task"))).subject == "task"
    assert (await keys.keys())[0]["kid"] == SigningKey.from_json(text).kid
    assert not (tmp_path / ".micro").exists()


async def test_the_secret_may_lie_in_a_file_below_the_stacks_folder(tmp_path: Path) -> None:
    key = SigningKey.generate(SystemClock())
    (tmp_path / "mounted.json").write_text(key.to_json() + "\n")
    environ = {"MICRO_STACK_KEY": "${file:mounted.json}"}
    keys = StackKeys(tmp_path / ".micro" / "keys", clock=SystemClock(), environ=environ)
    assert (await keys.keys())[0]["kid"] == key.kid


@pytest.mark.parametrize(
    "text", ["secret", '{"kty": "secret"}', '{"kty": "OKP", "crv": "Ed25519", "x": "secret"}']
)
def test_a_secret_that_is_no_key_is_refused_without_being_told(tmp_path: Path, text: str) -> None:
    keys = StackKeys(tmp_path / "a" / "b", clock=SystemClock(), environ={"MICRO_STACK_KEY": text})
    with pytest.raises(
        ConfigurationError, match="environment MICRO_STACK_KEY: this is no signing key"
    ) as caught:
        keys.service_token("task")
    assert "secret" not in str(caught.value)


def test_without_a_value_the_file_is_the_key(tmp_path: Path) -> None:
    keys = StackKeys(tmp_path / "a" / "b", clock=SystemClock(), environ={"MICRO_STACK_KEY": ""})
    keys.service_token("task")
    assert (tmp_path / "a" / "b" / FILE).exists()
