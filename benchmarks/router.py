"""To find a route among 1,000 and among 10, in one run, turn by turn, so that the machine's drift meets both."""

import random
import time

from micro.gateway.exchange import Exchange
from micro.gateway.routes import Router
from micro.gateway.rules import Rule

ROUNDS = 31
REQUESTS = 20_000
METHODS = ("GET", "POST", "PUT", "DELETE")
CONDITIONS: tuple[dict[str, str], dict[str, str]] = ({"x-version": "2"}, {"beta": "*"})


def rules(number: int, *, conditions: bool) -> list[Rule[int]]:
    """Prefixes of one to three elements, a third of them with conditions on the method.

    With `conditions`, each place has a second route, for one host, with conditions on header and query.
    """
    prefixes = (b"/service-%d", b"/team-%d/api", b"/team-%d/api/v2")
    found = []
    for index in range(number):
        path = prefixes[index % 3] % index
        methods = METHODS[: 1 + index % 4] if index % 3 == 2 else None
        found.append(Rule(path, index, methods=methods))
        if conditions:
            found.append(Rule(path, -index, host="*.example.com", conditions=CONDITIONS))
    return found


def requests(table: list[Rule[int]], dice: random.Random) -> list[tuple[bytes, Exchange]]:
    """Paths below ten of the routes, spread over the table, in a random order; one in ten has no route.

    The same number of different ones for either table: how many objects fit the processor's caches is the load's
    doing and not the router's.
    """
    chosen = [table[index * len(table) // 10] for index in range(10)]
    below = b"/019b7d3c-8a00-7c4e-9f3b-2d6a51c0e7f4"
    found = [(rule.path + below, request(min(rule.methods or METHODS))) for rule in chosen]
    found[-1] = (b"/nowhere" + below, request("GET"))
    return dice.choices(found, k=REQUESTS)


def request(method: str) -> Exchange:
    """One with all that conditions ask for."""
    exchange = Exchange(method, b"/", [(b"host", b"shop.example.com"), (b"x-version", b"2")])
    exchange.query = b"beta=1&page=2"
    return exchange


def seconds(router: Router[int], load: list[tuple[bytes, Exchange]]) -> float:
    """For one pass over the load."""
    match = router.match
    started = time.perf_counter()
    for path, exchange in load:
        match(path, exchange)
    return time.perf_counter() - started


def prepare(number: int, *, conditions: bool) -> tuple[Router[int], list[tuple[bytes, Exchange]]]:
    """A router and its load."""
    table = rules(number, conditions=conditions)
    return Router(table), requests(table, random.Random(number))


def main() -> None:
    """Print the figures."""
    for conditions, name in ((False, "routes"), (True, "with conditions")):
        few, many = prepare(10, conditions=conditions), prepare(1000, conditions=conditions)
        pairs = [(seconds(*few), seconds(*many)) for _ in range(ROUNDS)]
        best_few, best_many = (min(each) / REQUESTS * 1e9 for each in zip(*pairs, strict=True))
        print(f"10 {name:<34}{best_few:6.0f} ns")
        print(f"1,000 {name:<31}{best_many:6.0f} ns")
        print(f"ratio                                {best_many / best_few:6.2f}    (goal: at most 1.1)")


if __name__ == "__main__":
    main()
