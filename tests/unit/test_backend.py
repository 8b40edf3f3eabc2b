"""URLs with a host: what can't be read is refused, before any of it can be shown."""

from __future__ import annotations

import pytest

from micro.backend import split_url
from micro.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "netloc"),
    [
        ("postgresql://me:p%2Fw@db:5432/task?schema=x", "me:p%2Fw@db:5432"),
        ("postgresql:///task", ""),
        ("postgresql://[::1]:5432/task", "[::1]:5432"),
        ("kafka://one:1,two,three:3?security=ssl", "one:1,two,three:3"),
        ("postgresql://me:p@ss@db/task", "me:p@ss@db"),
    ],
)
def test_what_can_be_read_is_read(url, netloc):
    assert split_url(url, "store").netloc == netloc


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret/x@db/task",
        "postgresql://me:s3cret#x@db/task",
        "postgresql://me:s3cret?x@db/task",
        "postgresql://me:12345/s3cret@db/task",
        "postgresql://db:s3cret/task",
        "kafka://b:s3cret,b2",
        "postgresql://[s3cret/task",
    ],
)
def test_a_password_is_not_taken_for_a_host_or_a_path_and_not_shown(url):
    with pytest.raises(ConfigurationError, match="write % : /") as caught:
        split_url(url, "store")
    assert "s3cret" not in str(caught.value)
    assert caught.value.key == "store"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
