"""The static list keeps the contract of discovery, and has what its URL says."""

from __future__ import annotations

import pytest

from micro.discovery.static import StaticDiscovery
from micro.errors import ConfigurationError
from micro.testing import DiscoveryContract, FakeClock


class TestStatic(DiscoveryContract):
    @pytest.fixture
    def make(self, clock):
        return lambda: StaticDiscovery("static:", clock=clock)


async def test_what_the_url_lists_is_always_there():
    url = "static:?task=http://10.0.0.5:9000/&task=https://far.example&user=http://[2001:db8::1]:1"
    here, left = await StaticDiscovery(url, clock=FakeClock()).places()
    assert [(place.service, place.url) for place in here] == [
        ("task", "http://10.0.0.5:9000"),
        ("task", "https://far.example"),
        ("user", "http://[2001:db8::1]:1"),
    ]
    assert len({place[:2] for place in here}) == 3, "their names differ"
    assert left == []


@pytest.mark.parametrize("listed", ["task=10.0.0.5:9000", "task=", "task=ftp://h", "task=http://"])
def test_what_is_no_base_url_is_refused_with_the_right_form(listed):
    with pytest.raises(ConfigurationError, match="task: write static:\\?task=http://host:port"):
        StaticDiscovery(f"static:?{listed}", clock=FakeClock())
