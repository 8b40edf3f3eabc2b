"""Tools for tests: contract suites per port, a fake clock, a harness for one service. Public API.

Names are loaded when first used: importing this package imports neither pytest nor a backend.

    from micro.testing import FakeClock, StoreContract
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from micro.testing.asgi import AsgiClient
    from micro.testing.bus import BusContract
    from micro.testing.cache import CacheContract
    from micro.testing.cache_window import WindowContract
    from micro.testing.clock import FakeClock
    from micro.testing.discovery import DiscoveryContract
    from micro.testing.fakes import FakeCaller, FakeVerifier
    from micro.testing.faults import FaultyBus, FaultyJournal, FaultyStore, crash_at, fail_at
    from micro.testing.harness import ServiceHarness
    from micro.testing.journal import JournalContract
    from micro.testing.log import LogContract
    from micro.testing.store import StoreContract

__all__ = [
    "AsgiClient",
    "BusContract",
    "CacheContract",
    "DiscoveryContract",
    "FakeCaller",
    "FakeClock",
    "FakeVerifier",
    "FaultyBus",
    "FaultyJournal",
    "FaultyStore",
    "JournalContract",
    "LogContract",
    "ServiceHarness",
    "StoreContract",
    "WindowContract",
    "crash_at",
    "fail_at",
]

_MODULES = {
    "AsgiClient": "micro.testing.asgi",
    "BusContract": "micro.testing.bus",
    "CacheContract": "micro.testing.cache",
    "DiscoveryContract": "micro.testing.discovery",
    "FakeCaller": "micro.testing.fakes",
    "FakeClock": "micro.testing.clock",
    "FakeVerifier": "micro.testing.fakes",
    "FaultyBus": "micro.testing.faults",
    "FaultyJournal": "micro.testing.faults",
    "FaultyStore": "micro.testing.faults",
    "JournalContract": "micro.testing.journal",
    "LogContract": "micro.testing.log",
    "ServiceHarness": "micro.testing.harness",
    "StoreContract": "micro.testing.store",
    "WindowContract": "micro.testing.cache_window",
    "crash_at": "micro.testing.faults",
    "fail_at": "micro.testing.faults",
}


def __getattr__(name: str) -> Any:
    """Import the module that holds `name` and keep what it holds (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
