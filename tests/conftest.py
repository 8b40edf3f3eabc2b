"""Rules for the whole suite."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A busy machine is no reason to fail: what takes too long is a benchmark's business.
settings.register_profile("micro", deadline=None)
settings.load_profile("micro")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """On CI a test against a real server must run: a skip there is a failure."""
    report = yield
    if report.skipped and os.environ.get("CI") and item.get_closest_marker("live"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped on CI: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    """No setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith("MICRO_"):
            monkeypatch.delenv(name)
