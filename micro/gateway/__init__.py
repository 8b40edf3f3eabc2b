"""The gateway: one `Exchange` through its route's compiled policies to an upstream.

What an author of policies needs is here; each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from micro.gateway.exchange import Answer, Exchange
    from micro.gateway.pipeline import BodyFilter
    from micro.gateway.refusals import refuse
    from micro.spec.gateway import Route

__all__ = ["Answer", "BodyFilter", "Exchange", "Route", "refuse"]

_HOME = {
    "Answer": "micro.gateway.exchange",
    "BodyFilter": "micro.gateway.pipeline",
    "Exchange": "micro.gateway.exchange",
    "Route": "micro.spec.gateway",
    "refuse": "micro.gateway.refusals",
}


def __getattr__(name: str) -> Any:
    """Import a public name (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'micro.gateway' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
