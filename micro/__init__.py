"""Run a whole microservice system from one command.

What an author of services needs is here; each name is imported when it is first used, so that `import micro` costs
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from micro.bus.message import CloudEvent, Event
    from micro.clock import Clock, rfc3339
    from micro.context import restore_context, save_context
    from micro.errors import (
        CallError,
        ConfigurationError,
        ConstraintViolation,
        EventTooLarge,
        MicroError,
        StoreError,
        StoreUnavailable,
        TokenError,
        TransactionTimeout,
        UniqueViolation,
    )
    from micro.ids import new_id
    from micro.service import Identity, Reply, Resources, Retry, Service, Transaction
    from micro.version import __version__
    from micro.web.api import Api, JsonResponse
    from micro.web.pagination import Items, Page
    from micro.web.problems import Problem
    from micro.web.types import Id, Timestamp

__all__ = [
    "Api",
    "CallError",
    "Clock",
    "CloudEvent",
    "ConfigurationError",
    "ConstraintViolation",
    "Event",
    "EventTooLarge",
    "Id",
    "Identity",
    "Items",
    "JsonResponse",
    "MicroError",
    "Page",
    "Problem",
    "Reply",
    "Resources",
    "Retry",
    "Service",
    "StoreError",
    "StoreUnavailable",
    "Timestamp",
    "TokenError",
    "Transaction",
    "TransactionTimeout",
    "UniqueViolation",
    "__version__",
    "new_id",
    "restore_context",
    "rfc3339",
    "save_context",
]

_HOMES = {
    "micro.bus.message": ("CloudEvent", "Event"),
    "micro.clock": ("Clock", "rfc3339"),
    "micro.context": ("restore_context", "save_context"),
    "micro.errors": (
        "CallError",
        "ConfigurationError",
        "ConstraintViolation",
        "EventTooLarge",
        "MicroError",
        "StoreError",
        "StoreUnavailable",
        "TokenError",
        "TransactionTimeout",
        "UniqueViolation",
    ),
    "micro.ids": ("new_id",),
    "micro.service": ("Identity", "Reply", "Resources", "Retry", "Service", "Transaction"),
    "micro.version": ("__version__",),
    "micro.web.api": ("Api", "JsonResponse"),
    "micro.web.pagination": ("Items", "Page"),
    "micro.web.problems": ("Problem",),
    "micro.web.types": ("Id", "Timestamp"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'micro' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
