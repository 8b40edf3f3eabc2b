"""To find a route among 1,000 and among 10, in one run, turn by turn, so that the machine's drift meets both."""

import random
import time

from micro.gateway.routes import Router

ROUNDS = 31
REQUESTS = 20_000
METHODS = ("GET", "POST", "PUT", "DELETE")


def routes(number: int) -> list[tuple[bytes, tuple[str, ...] | None]]:
    """Prefixes of one to three elements, a third of them with conditions on the method."""
    prefixes = (b"/service-%d", b"/team-%d/api", b"/team-%d/api/v2")
    return [
        (prefixes[index % 3] % index, METHODS[: 1 + index % 4] if index % 3 == 2 else None)
        for index in range(number)
    ]


def requests(
    table: list[tuple[bytes, tuple[str, ...] | None]], dice: random.Random
) -> list[tuple[bytes, str]]:
    """Paths below ten of the routes, spread over the table, in a random order; one in ten has no route.

    The same number of different ones for either table: how many objects fit the processor's caches is the load's
    doing and not the router's.
    """
    chosen = [table[index * len(table) // 10] for index in range(10)]
    below = b"/019b7d3c-8a00-7c4e-9f3b-2d6a51c0e7f4"
    paths = [(path + below, (methods or METHODS)[0]) for path, methods in chosen]
    paths[-1] = (b"/nowhere" + below, "GET")
    return dice.choices(paths, k=REQUESTS)


def seconds(router: Router[int], load: list[tuple[bytes, str]]) -> float:
    """For one pass over the load."""
    match = router.match
    started = time.perf_counter()
    for path, method in load:
        match(path, method)
    return time.perf_counter() - started


def prepare(number: int) -> tuple[Router[int], list[tuple[bytes, str]]]:
    """A router and its load."""
    table = routes(number)
    router: Router[int] = Router()
    for index, (path, methods) in enumerate(table):
        router.add(path, methods, index)
    return router, requests(table, random.Random(number))


def main() -> None:
    """Print the figures."""
    few, many = prepare(10), prepare(1000)
    pairs = [(seconds(*few), seconds(*many)) for _ in range(ROUNDS)]
    best_few, best_many = (min(each) / REQUESTS * 1e9 for each in zip(*pairs, strict=True))
    print(f"10 routes                            {best_few:6.0f} ns")
    print(f"1,000 routes                         {best_many:6.0f} ns")
    print(f"ratio                                {best_many / best_few:6.2f}    (goal: at most 1.1)")


if __name__ == "__main__":
    main()
