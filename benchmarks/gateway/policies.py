"""The gateway's own work on a request, without parser, sockets and upstream: read its head, admit it, release the
answer's head, record it.

Bare is a route with everything off. The other has a verified token, a limit per address, metrics and access log.
"""

import contextlib
import tempfile
import time
from pathlib import Path

from micro.cache.memory import MemoryCache
from micro.clock import SystemClock
from micro.gateway.app import Gateway
from micro.gateway.exchange import Exchange
from micro.gateway.pipeline import release
from micro.service import Identity
from micro.spec.gateway import GatewaySpec, Route
from micro.spec.terms import Rate
from micro.telemetry.access import AccessLog

ROUNDS = 15
REQUESTS = 10_000
TOKEN = "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ." + "a" * 180 + "." + "b" * 86
API = [
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"python-httpx/0.28.1"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"x-client-version", b"4.2.0"),
]
BROWSER = [
    (b"host", b"127.0.0.1:8000"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-GB,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"referer", b"http://127.0.0.1:8000/app"),
    (b"sec-fetch-mode", b"cors"),
    (b"sec-fetch-site", b"same-origin"),
    (b"authorization", b"Bearer " + TOKEN.encode()),
]
ANSWER = [(b"server", b"nginx"), (b"content-type", b"application/json"), (b"content-length", b"27")]


class Tokens:
    """Knows every token."""

    known = Identity(subject="ann", role="user", issuer="micro:user", expires=1e12)

    def cached(self, token):
        """Who it speaks for."""
        return self.known


class Nowhere:
    """An upstream that gets nothing."""


def gateway(folder: Path, *, policies: bool) -> Gateway:
    """With everything on, or nothing that can be off."""
    clock = SystemClock()
    route = Route(path="/", service="app", auth="required" if policies else "none")
    return Gateway(
        GatewaySpec(
            routes=(route,),
            rate_limit=Rate(10**9, 1.0) if policies else None,
            access_log=policies,
            security_headers=policies,
        ),
        upstreams={"app": Nowhere()},
        verifier=Tokens(),
        window=MemoryCache("memory:", clock=clock),
        clock=clock,
        access_log=AccessLog(folder / "access.log", clock=clock, capacity=100),
        health=dict,
        documents=dict,
    )


def seconds(plan, headers: list[tuple[bytes, bytes]], *, requests: int = REQUESTS) -> float:
    """For that many requests through the plan's policies."""
    peer, clock = ("127.0.0.1", 50123), plan.clock
    started = time.perf_counter()
    for _ in range(requests):
        exchange = Exchange("GET", b"/orders/42", list(headers))
        exchange.started = clock.monotonic()
        exchange.query = b""
        exchange.version = "1.1"
        exchange.scheme = "http"
        exchange.peer = peer
        if plan.admit(exchange) is not None:
            raise SystemExit("a request was refused")
        exchange.status = 200
        exchange.fields = list(ANSWER)
        release(exchange.pipeline.responses, exchange)
        exchange.sent = 27
        plan.recorder.record(exchange)
    return time.perf_counter() - started


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(KeyboardInterrupt):
        bare, full = (gateway(Path(name), policies=policies).plan for policies in (False, True))
        pairs = [(seconds(bare, API), seconds(full, BROWSER)) for _ in range(ROUNDS)]
    least = [min(each) / REQUESTS * 1e6 for each in zip(*pairs, strict=True)]
    print(f"6 fields, bare route                 {least[0]:6.2f} µs   (goal: at most 6)")
    print(f"10 fields, token, limit, log         {least[1]:6.2f} µs   (goal: at most 10)")


if __name__ == "__main__":
    main()
