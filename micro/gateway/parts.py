"""What plans are made of, and what outlives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path
    from typing import Any

    from micro.cache.ports import Window
    from micro.clock import Clock
    from micro.gateway.deadlines import Wheel
    from micro.gateway.entropy import Ids
    from micro.gateway.policies.shedding import InHand
    from micro.gateway.record import Recorder
    from micro.security.stack_key import Signer
    from micro.service import Verifier
    from micro.telemetry.metrics import Metrics


class Parts(NamedTuple):
    """One for each gateway. Given by name."""

    name: str
    """The gateway's pseudonym in `Via`."""
    clock: Clock
    wheel: Wheel
    ids: Ids
    verifier: Verifier
    signer: Signer | None
    """What the identities of API keys are signed with for the services; none where there are no keys."""
    window: Window
    recorder: Recorder
    in_hand: InHand
    metrics: Metrics
    health: Callable[[], Mapping[str, str]]
    documents: Callable[[], Awaitable[Mapping[str, dict[str, Any]]]]
    root: Path
    """Where the modules of extensions lie."""
    source: str
    """What messages call the file of the configuration."""
