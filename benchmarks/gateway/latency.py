"""What a proxy adds to the time of a request: each at half of its own saturation, and all at half of the slowest's.

The client keeps to its schedule whatever the server does (no coordinated omission). The same client's time without a
proxy, at the same rate and in the same round, is subtracted.
"""

import statistics
from collections import defaultdict

from benchmarks.gateway.cost import FASTEST
from benchmarks.gateway.load import pace
from benchmarks.gateway.side_by_side import BARE, CADDY, NGINX, POLICIES, beside, in_turn, rate

ROUNDS = 9
SECONDS = 1


def percentiles(latencies: list[float]) -> tuple[float, float]:
    """Median and 99th, in microseconds."""
    cuts = statistics.quantiles(latencies, n=100)
    return cuts[49] * 1e6, cuts[98] * 1e6


def added(servers, origin, speeds) -> dict:
    """Median and 99th of what each adds at each of its speeds. All take turns; of the rounds the least counts, on both
    sides: what else goes on in the machine only ever adds."""
    rounds = defaultdict(list)
    for _ in range(ROUNDS):
        for speed in {speed for each in speeds.values() for speed in each}:
            rounds[None, speed].append(percentiles(pace(origin, speed, SECONDS)[1]))
        for maker, server in servers.items():
            for speed in speeds[maker]:
                rounds[maker, speed].append(percentiles(pace(server, speed, SECONDS)[1]))
    least = {each: [min(column) for column in zip(*runs, strict=True)] for each, runs in rounds.items()}
    return {
        (maker, speed): [a - b for a, b in zip(least[maker, speed], least[None, speed], strict=True)]
        for maker, of in speeds.items()
        for speed in of
    }


def main() -> None:
    """Print the figures."""
    with beside(NGINX, CADDY, BARE, POLICIES) as (origin, servers):
        full = {maker: rate(runs) for maker, runs in in_turn(servers, rounds=1, seconds=SECONDS).items()}
        own = {maker: min(full[maker] / 2, FASTEST) for maker in servers}
        slowest = min(own.values())
        found = added(servers, origin, {maker: dict.fromkeys((own[maker], slowest)) for maker in servers})
        for (maker, speed), (middle, tail) in found.items():
            print(f"{servers[maker].name:48} {speed:7,.0f}/s  median {middle:6.0f} µs  99th {tail:6.0f} µs")
        if CADDY in servers:
            for mine in (BARE, POLICIES):
                for name, ours, theirs in (
                    ("half of its full", own[mine], own[CADDY]),
                    ("the same", slowest, slowest),
                ):
                    share = found[mine, ours][1] / found[CADDY, theirs][1]
                    print(
                        f"99th, {servers[mine].name} / Caddy, at {name} rate: {share:.2f}   (goal: at most 0.5)"
                    )


if __name__ == "__main__":
    main()
