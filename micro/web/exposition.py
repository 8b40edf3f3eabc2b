"""``/metrics``: who may read it, and the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from micro.telemetry.metrics import CONTENT_TYPE
from micro.web.problems import Problem

if TYPE_CHECKING:
    from starlette.types import Scope

    from micro.telemetry.metrics import Metrics

_LOOPBACK = ("127.", "::ffff:127.")


def metrics_response(scope: Scope, metrics: Metrics, *, public: bool = False) -> Response:
    """The metrics as text. Raises a 403 `Problem` for a peer that is not on this machine, unless `public`."""
    client = scope.get("client")
    address = client[0] if client else "127.0.0.1"  # a Unix socket has no address
    if not (public or address == "::1" or address.startswith(_LOOPBACK)):
        raise Problem(403, detail="Metrics are answered to this machine only.")
    return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})
