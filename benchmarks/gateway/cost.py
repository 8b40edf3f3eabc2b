"""Processor time for a proxied request, one worker on one core, 32 keep-alive connections, small JSON.

At saturation, and with a fixed rate at half of it, where a wake-up serves about one request.
"""

from benchmarks.gateway.load import pace
from benchmarks.gateway.side_by_side import (
    ALL,
    BARE,
    CADDY,
    HAPROXY,
    NGINX,
    POLICIES,
    beside,
    cost,
    in_turn,
    rate,
    ratio,
)

ROUNDS = 5
SECONDS = 2
FASTEST = 20_000
"""Requests a second that the client of the fixed rate sends without being the bottleneck."""


def main() -> None:
    """Print the figures."""
    with beside(*ALL) as (_, servers):
        runs = in_turn(servers, rounds=ROUNDS, seconds=SECONDS)
        print(f"{'':48}  at saturation      at half of it")
        for maker, server in servers.items():
            full = rate(runs[maker])
            half = min(full / 2, FASTEST)
            slow, _ = pace(server, half, SECONDS)
            capped = "" if half == full / 2 else f", at {half:,.0f}/s"
            print(f"{server.name:48} {cost(runs[maker]):5.1f} µs {full:7,.0f}/s {slow.cost:6.1f} µs{capped}")
        for mine, theirs, goal, never in (
            (BARE, NGINX, 1.5, 2.0),
            (POLICIES, NGINX, 2.0, 2.4),
            (POLICIES, CADDY, 0.45, None),
            (POLICIES, HAPROXY, 0.45, None),
        ):
            if theirs in servers:
                ours, other = servers[mine].name, servers[theirs].name
                limit = f", never above {never}" if never else ""
                print(
                    f"{ours} / {other}: {ratio(runs[mine], runs[theirs]):.2f}   (goal: at most {goal}{limit})"
                )


if __name__ == "__main__":
    main()
