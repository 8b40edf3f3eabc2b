"""argon2id: its parameters, its time, and how much of it at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from micro.services.user import infrastructure
from micro.services.user.application import Overloaded
from micro.services.user.infrastructure import DECOY, Argon2


async def test_a_hash_is_argon2id_with_the_parameters_of_rfc_9106():
    """The second recommended option: 64 MiB, three passes, four lanes, 16 bytes of salt."""
    hash = await Argon2().hash("correct horse")
    assert hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert len(hash.split("$")[4]) == 22


async def test_the_right_password_matches_and_no_other():
    """Also with characters of several bytes."""
    passwords = Argon2()
    hash = await passwords.hash("pässwörd 🔑")
    assert await passwords.matches("pässwörd 🔑", hash)
    assert not await passwords.matches("passwort 🔑", hash)


async def test_two_hashes_of_one_password_differ():
    """Salted."""
    passwords = Argon2()
    assert await passwords.hash("correct horse") != await passwords.hash("correct horse")


def test_the_decoy_asks_for_as_much_work_as_a_real_hash():
    """So an unknown e-mail takes as long as a wrong password."""
    from argon2 import extract_parameters
    from argon2.profiles import RFC_9106_LOW_MEMORY

    assert extract_parameters(DECOY) == RFC_9106_LOW_MEMORY


async def test_without_a_hash_the_work_is_done_all_the_same(monkeypatch):
    """Against the decoy, and the answer is no, whatever it says."""
    asked = []

    def verify(hash, password):
        asked.append(hash)
        return True

    monkeypatch.setattr(infrastructure, "_verify", verify)
    assert not await Argon2().matches("correct horse", None)
    assert asked == [DECOY]


async def test_no_password_matches_the_decoy():
    """For real."""
    assert not await Argon2().matches("", None)


@pytest.fixture
def held(monkeypatch):
    """Hashing that waits for the test, and counts how many are at it."""

    class Held:
        def __init__(self) -> None:
            self.release = threading.Event()
            self.lock = threading.Lock()
            self.now = self.most = 0

        def work(self, password):
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            self.release.wait(60)
            with self.lock:
                self.now -= 1
            return "hash"

    made = Held()
    monkeypatch.setattr(infrastructure, "_hash", made.work)
    yield made
    made.release.set()


async def test_a_flood_is_worked_off_a_few_at_a_time(held):
    """So memory is bounded, and the event loop is free meanwhile."""
    passwords = Argon2(lanes=2, queue=20)
    waiting = [asyncio.create_task(passwords.hash("x")) for _ in range(20)]
    async with asyncio.timeout(60):
        while held.now < 2:
            await asyncio.to_thread(lambda: None)
    held.release.set()
    assert await asyncio.gather(*waiting) == ["hash"] * 20
    assert held.most == 2


async def test_beyond_the_queue_it_is_refused_at_once(held):
    """And taken again when there is room."""
    passwords = Argon2(lanes=1, queue=1)
    first, second = asyncio.create_task(passwords.hash("a")), asyncio.create_task(passwords.hash("b"))
    async with asyncio.timeout(60):
        while held.now < 1:
            await asyncio.to_thread(lambda: None)
    with pytest.raises(Overloaded):
        await passwords.hash("c")
    held.release.set()
    await asyncio.gather(first, second)
    assert await passwords.hash("d") == "hash"


async def test_a_waiting_one_that_is_cancelled_gives_its_place_back(held):
    """A client that hangs up takes no room."""
    passwords = Argon2(lanes=1, queue=1)
    first, second = asyncio.create_task(passwords.hash("a")), asyncio.create_task(passwords.hash("b"))
    async with asyncio.timeout(60):
        while held.now < 1:
            await asyncio.to_thread(lambda: None)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    third = asyncio.create_task(passwords.hash("c"))
    held.release.set()
    assert await asyncio.gather(first, third) == ["hash", "hash"]


def test_importing_the_service_loads_nothing_heavy():
    """The stack starts within a second; hashing and signing load what they need when they are first used."""
    code = (
        "import sys, micro.services.user.service;"
        "sys.exit(any(name in sys.modules for name in ('argon2', 'jwt', 'cryptography', 'httpx')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
