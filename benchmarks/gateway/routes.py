"""A gateway with 1,000 routes beside one with 10: processor time for a request, and the router by itself."""

from benchmarks import router
from benchmarks.gateway import ours
from benchmarks.gateway.side_by_side import beside, cost, in_turn, ratio

ROUNDS = 5


def with_routes(number: int):
    """A stack with so many routes, and requests for one from their middle."""

    def make(folder, behind):
        routes = [
            {"path": rule.path.decode(), "service": "origin"}
            | ({"methods": sorted(rule.methods)} if rule.methods else {})
            for rule in router.rules(number, conditions=False)
        ]
        return ours.micro_up(
            f"{number:,} routes",
            folder / f"routes-{number}",
            gateway=ours.OFF,
            services=ours.remote(behind),
            routes=routes,
        )

    return make


def main() -> None:
    """Print the figures."""
    few, many = with_routes(10), with_routes(1000)
    with beside(few, many) as (_, servers):
        for maker, number in ((few, 10), (many, 1000)):
            rule = router.rules(number, conditions=False)[number // 2]
            assert rule.methods is None or "GET" in rule.methods  # or the load would be refused
            servers[maker].path = rule.path.decode() + "/42"
        runs = in_turn(servers, rounds=ROUNDS, seconds=2)
        for maker, server in servers.items():
            print(f"{server.name:48} {cost(runs[maker]):5.1f} µs")
        print(f"ratio {ratio(runs[many], runs[few]):.2f}   (goal: at most 1.1)")


if __name__ == "__main__":
    main()
