"""What a proxy adds to the time of a request, at half of its saturation and at half of the slowest's.

The client keeps to its schedule whatever the server does (no coordinated omission). The same client's time without a
proxy is subtracted.
"""

import statistics

from benchmarks.gateway.cost import FASTEST
from benchmarks.gateway.load import pace
from benchmarks.gateway.side_by_side import BARE, CADDY, NGINX, POLICIES, beside, in_turn, rate

ROUNDS = 5
SECONDS = 2


def percentiles(latencies: list[float]) -> tuple[float, float]:
    """Median and 99th, in microseconds."""
    cuts = statistics.quantiles(latencies, n=100)
    return cuts[49] * 1e6, cuts[98] * 1e6


def added(server, origin, speed: float) -> tuple[float, float]:
    """Median and 99th of what is added, each the median of the rounds, origin and proxy in turn."""
    rounds = []
    for _ in range(ROUNDS):
        direct = percentiles(pace(origin, speed, SECONDS)[1])
        proxied = percentiles(pace(server, speed, SECONDS)[1])
        rounds.append([a - b for a, b in zip(proxied, direct, strict=True)])
    return statistics.median(each[0] for each in rounds), statistics.median(each[1] for each in rounds)


def main() -> None:
    """Print the figures."""
    with beside(NGINX, CADDY, BARE, POLICIES) as (origin, servers):
        full = {maker: rate(runs) for maker, runs in in_turn(servers, rounds=1, seconds=2).items()}
        slowest = min(full.values()) / 2
        tails = {}
        for maker, server in servers.items():
            for speed in dict.fromkeys((min(full[maker] / 2, FASTEST), slowest)):
                middle, tail = added(server, origin, speed)
                tails[maker, speed == slowest] = tail
                print(f"{server.name:48} {speed:7,.0f}/s  median {middle:6.0f} µs  99th {tail:6.0f} µs")
        if CADDY in servers:
            for mine in (BARE, POLICIES):
                share = tails[mine, True] / tails[CADDY, True]
                print(
                    f"99th, {servers[mine].name} / Caddy, at the same rate: {share:.2f}   (goal: at most 0.5)"
                )


if __name__ == "__main__":
    main()
