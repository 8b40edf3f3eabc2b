"""Run all benchmarks, or those named: startup, memory, traffic, events, router; `gateway [NAME …]` runs the gateway's.

`prod [NAME …]` runs those of `micro up --prod`, on servers that it starts.
"""

import importlib
import sys

from benchmarks import gateway, prod
from benchmarks.processes import machine

NAMES = ("startup", "memory", "traffic", "events", "router")


def run(package: str, names: list[str], known: tuple[str, ...]) -> None:
    """Print every figure with its goal."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"no benchmark called {', '.join(unknown)}; there are: {', '.join(known)}")
    for name in names:
        print(f"\n{name}")
        importlib.import_module(f"{package}.{name}").main()


def main() -> None:
    """The general ones, those of the gateway, or, without a name, the general ones and the gateway's short ones."""
    names = sys.argv[1:]
    print(machine())
    if names[:1] == ["gateway"]:
        run("benchmarks.gateway", names[1:] or list(gateway.NAMES), gateway.NAMES)
        return
    if names[:1] == ["prod"]:
        run("benchmarks.prod", names[1:] or list(prod.NAMES), prod.NAMES)
        return
    run("benchmarks", names or list(NAMES), NAMES)
    if not names:
        run("benchmarks.gateway", list(gateway.SHORT), gateway.NAMES)


if __name__ == "__main__":
    main()
