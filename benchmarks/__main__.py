"""Run all benchmarks, or those named: startup, memory, traffic, events, router."""

import importlib
import sys

from benchmarks.processes import machine

NAMES = ("startup", "memory", "traffic", "events", "router")


def main() -> None:
    """Print every figure with its goal."""
    names = sys.argv[1:] or NAMES
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise SystemExit(f"no benchmark called {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    print(machine())
    for name in names:
        print(f"\n{name}")
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
