"""Configuration, loading and telemetry, as type checkers see them. Checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from micro.config.load import LoadedStack, load_service, load_stack, select
from micro.config.read import Config, read_config
from micro.profile import Profile
from micro.service import Service
from micro.spec.terms import Rate
from micro.stack import Stack
from micro.telemetry.metrics import Counter, Metrics


def configure() -> None:
    config = read_config(Path.cwd(), {"MICRO_GATEWAY_PORT": "9000"}, flags={"gateway.port": 9000})
    assert_type(config, Config)
    assert_type(config.stack, Stack)
    assert_type(config.stack.gateway.rate_limit, Rate | None)
    assert_type(config.profile("dev", {"store": None}), Profile)
    assert_type(config.service_env("task"), dict[str, str])
    assert_type(select(config.stack, ["task"], depends=False), Stack)
    assert_type(load_stack(config.stack), LoadedStack)
    assert_type(load_service(config.stack.members[0], config.stack), Service)
    config.stack.gateway.port = 1  # type: ignore[misc] # a configuration is frozen


def count() -> None:
    metrics = Metrics()
    jobs = metrics.counter("jobs_total", "Jobs done.", ("kind",))
    assert_type(jobs, Counter)
    jobs.labels("mail").inc()
    jobs.labels(1)  # type: ignore[arg-type] # label values are text
