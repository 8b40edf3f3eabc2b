"""What a proxied request costs, beside the proxies that Debian packages: `python -m benchmarks gateway [NAME …]`.

A proxy that isn't installed is named with the command that installs it, and left out. What was found when the gateway
was profiled is in `NOTES.md`.
"""

NAMES = ("policies", "cost", "latency", "routes", "holding", "hops", "workers")
SHORT = ("policies", "cost")
"""Those that `make bench` runs, too."""
