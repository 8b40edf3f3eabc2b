"""What `micro up --prod` costs on real servers that `micro infra` starts: `python -m benchmarks prod [NAME …]`."""

NAMES = ("start", "consume", "latency", "backlog", "restart")
