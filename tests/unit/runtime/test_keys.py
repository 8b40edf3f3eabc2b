"""The stack's own key is made when the first token asks for it, and proves services as well as people."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from micro.clock import SystemClock
from micro.runtime.keys import FILE, StackKeys
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
