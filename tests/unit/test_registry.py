"""The table of back ends."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from micro import registry
from micro.errors import ConfigurationError, MissingExtra
from micro.registry import backend_class, create, is_known, schemes
from micro.testing import FakeClock


class Plain:
    """A back end for these tests."""

    def __init__(self, url, *, clock):
        self.url, self.clock = url, clock


@pytest.fixture
def entry_points(monkeypatch):
    """Entry points that a third party's package would bring."""
    points = []
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [p for p in points if p.group == group]
    )
    return lambda name, value: points.append(EntryPoint(name, value, registry.GROUP))


@pytest.mark.parametrize(
    ("port", "url"), [("store", "sqlite:x.db"), ("bus", "memory:"), ("cache", "memory:")]
)
def test_the_back_ends_of_the_dev_profile_are_made_and_not_opened(port, url, tmp_path):
    clock = FakeClock()
    assert create(port, url.replace("x.db", str(tmp_path / "x.db")), clock=clock) is not None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("port", "url", "name"),
    [
        ("store", "postgresql://db/x", "PostgresStore"),
        ("bus", "kafka://broker", "KafkaBus"),
        ("cache", "redis://cache:6379/0", "RedisCache"),
        ("cache", "rediss://cache:6379/0", "RedisCache"),
    ],
)
def test_the_back_ends_of_the_prod_profile_are_made_without_a_connection(port, url, name):
    assert type(create(port, url, clock=FakeClock())).__name__ == name


def test_an_unknown_scheme_is_refused_with_the_nearest():
    with pytest.raises(ConfigurationError, match="store: no back end for 'sqlit:'; did you mean 'sqlite'"):
        create("store", "sqlit:x", clock=FakeClock())
    assert not is_known("store", "sqlit:x")


def test_a_third_partys_back_end_is_found_by_its_entry_point(entry_points):
    entry_points("bus.nats", f"{__name__}:Plain")
    entry_points("cache.other", f"{__name__}:Plain")
    point = EntryPoint("bus.nats", "tests:Plain", registry.GROUP)
    assert point.group == "micro.backends"
    assert schemes("bus") == {"memory", "kafka", "nats"}
    assert is_known("bus", "nats://x")
    assert not is_known("store", "nats://x")


def test_a_third_partys_back_end_is_made_with_url_and_clock(entry_points):
    entry_points("cache.pathlike", "pathlib:PurePosixPath")
    assert create("cache", "pathlike:x") == Path("pathlike:x")


@pytest.mark.parametrize("value", ["no_such_package:X", "pathlib:NoSuchName"])
def test_an_entry_point_that_leads_nowhere_is_refused(entry_points, value):
    entry_points("bus.nats", value)
    with pytest.raises(
        ConfigurationError, match=f"the bus back end 'bus.nats' can't be loaded from {value}: "
    ):
        backend_class("bus", "nats://x")


def test_a_missing_driver_names_the_extra(monkeypatch):
    built = registry._Built("no_such_driver:X", "postgres")
    monkeypatch.setitem(registry._BUILT_IN["store"], "sqlite", built)
    with pytest.raises(MissingExtra, match=r"pip install 'microup\[postgres\]'"):
        create("store", "sqlite:x", clock=FakeClock())


@pytest.mark.parametrize(
    ("port", "url", "extra"),
    [
        ("store", "postgresql://h/{service}", "postgres"),
        ("store", "infra:", "postgres"),
        ("bus", "kafka://h", "kafka"),
        ("cache", "rediss://h", "redis"),
        ("cache", "infra:", "redis"),
        ("store", "sqlite:x", None),
        ("bus", "nats://h", None),
    ],
)
def test_the_extra_of_a_driver_that_is_not_installed_is_known_without_importing_any(
    monkeypatch, port, url, extra
):
    assert registry.missing_extra(port, url) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert registry.missing_extra(port, url) == extra


@pytest.mark.parametrize("target", ["micro.no_such_module:X", "no_such_driver:X"])
def test_a_broken_import_of_our_own_is_not_taken_for_a_missing_driver(monkeypatch, target):
    extra = "postgres" if target.startswith("micro") else ""
    monkeypatch.setitem(registry._BUILT_IN["store"], "sqlite", registry._Built(target, extra))
    with pytest.raises(ImportError):
        create("store", "sqlite:x", clock=FakeClock())


def test_a_discovery_goes_by_the_scheme_of_the_cache_where_that_can_be_one():
    """A cache in one process's memory can't."""
    assert schemes("discovery") == {"static", "redis", "rediss"}
    assert not is_known("discovery", "memory:")
    made = create("discovery", "redis://h:1/0?prefix=x:", clock=FakeClock(), stack="shop")
    assert type(made).__name__ == "RedisDiscovery"
