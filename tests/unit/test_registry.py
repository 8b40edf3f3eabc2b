"""The table of back ends."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from micro import registry
from micro.config import read_config
from micro.errors import ConfigurationError, MissingExtra
from micro.registry import (
    backend_class,
    create,
    is_known,
    require_supported,
    require_supported_members,
    schemes,
)
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
    ("port", "url"), [("store", "postgresql://db/x"), ("bus", "kafka://b"), ("cache", "redis://c")]
)
def test_the_back_ends_of_the_prod_profile_get_one_clear_sentence(port, url):
    assert is_known(port, url)
    with pytest.raises(ConfigurationError) as caught:
        create(port, url, clock=FakeClock())
    scheme = url.partition(":")[0]
    assert str(caught.value) == (
        f"{port}: '{scheme}:' is not part of this version; this version runs the back ends of the dev profile only "
        "(sqlite: for store, memory: for bus and cache)"
    )


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


@pytest.mark.parametrize("target", ["micro.no_such_module:X", "no_such_driver:X"])
def test_a_broken_import_of_our_own_is_not_taken_for_a_missing_driver(monkeypatch, target):
    extra = "postgres" if target.startswith("micro") else ""
    monkeypatch.setitem(registry._BUILT_IN["store"], "sqlite", registry._Built(target, extra))
    with pytest.raises(ImportError):
        create("store", "sqlite:x", clock=FakeClock())


@pytest.fixture
def support(tmp_path):
    """Asks whether this version runs what a `micro.toml` says."""

    def ask(text, name="dev"):
        (tmp_path / "micro.toml").write_text(text)
        config = read_config(tmp_path, {"PGPASSWORD": "x"})
        require_supported(config.profile(name))
        require_supported_members(config.stack)

    return ask


def test_the_dev_profile_is_run(support):
    support("")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "prod", 'built-in: profiles.prod.runner: "multi" is not part of this version; '),
        (
            "[profiles.prod]\nrunner = 'single'",
            "prod",
            "built-in: profiles.prod.store: 'postgresql:' is not part of",
        ),
        (
            "[profiles.dev]\nbus = 'kafka://b'",
            "dev",
            "micro.toml: profiles.dev.bus: 'kafka:' is not part of this version",
        ),
        (
            "[services.x]\ncommand = 'node x.js'",
            "dev",
            "micro.toml: services.x.command: is not part of this version; ",
        ),
        (
            "[services.x]\nurl = 'http://x'",
            "dev",
            "micro.toml: services.x.url: is not part of this version; ",
        ),
    ],
)
def test_what_is_described_but_not_part_of_this_version_is_refused_in_one_sentence(
    support, text, name, message
):
    with pytest.raises(ConfigurationError) as caught:
        support(text, name)
    assert str(caught.value).startswith(message)
