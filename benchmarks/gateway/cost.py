"""Processor time for a proxied request, one worker on one core, 32 keep-alive connections, small JSON.

At saturation, with the same request again and again, which is our best case, and with another path each time; and with a
fixed rate at half of saturation, where a wake-up serves about one request.
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
VARYING = """
local number = 0
request = function()
  number = number + 1
  return wrk.format(nil, wrk.path .. number)
end
"""
"""Another path for each request, as a script for wrk."""
FASTEST = 20_000
"""Requests a second that the client of the fixed rate sends without being the bottleneck."""


def main() -> None:
    """Print the figures."""
    with beside(*ALL) as (_, servers):
        same = in_turn(servers, rounds=ROUNDS, seconds=SECONDS)
        varying = in_turn(servers, rounds=ROUNDS, seconds=SECONDS, script=VARYING)
        print(f"{'':48}  at saturation   another path each time   at half of it")
        for maker, server in servers.items():
            full = rate(same[maker])
            half = min(full / 2, FASTEST)
            slow, _ = pace(server, half, SECONDS)
            capped = "" if half == full / 2 else f", at {half:,.0f}/s"
            print(
                f"{server.name:48} {cost(same[maker]):5.1f} µs {full:7,.0f}/s {cost(varying[maker]):14.1f} µs "
                f"{slow.cost:18.1f} µs{capped}"
            )
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
                    f"{ours} / {other}: {ratio(same[mine], same[theirs]):.2f}, another path each time "
                    f"{ratio(varying[mine], varying[theirs]):.2f}   (goal: at most {goal}{limit})"
                )


if __name__ == "__main__":
    main()
