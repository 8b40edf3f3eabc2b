"""The error tree: what people read, and what code can catch."""

from __future__ import annotations

import inspect
import re

import pytest

from micro import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_a_micro_error(cls):
    """Catching the root catches all of them."""
    assert issubclass(cls, errors.MicroError)


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    """Names and parents as drawn."""
    drawn: dict[str, int] = {}
    path: list[str] = []
    parents = {}
    for line in errors.__doc__.splitlines():
        if match := re.match(r"([│├└─ ]*)([A-Z]\w+)", line):
            depth = len(match[1]) // 4
            if match[2] == "MicroError" or "─" in match[1]:
                path = [*path[:depth], match[2]]
                parents[match[2]] = path[depth - 1] if depth else "Exception"
                drawn[match[2]] = depth
    assert parents == {cls.__name__: cls.__base__.__name__ for cls in CLASSES}


def test_a_configuration_error_names_file_and_key():
    """File, key path, then the sentence."""
    assert str(errors.ConfigurationError("no such key", file="micro.toml", key="gateway.prot")) == (
        "micro.toml: gateway.prot: no such key"
    )
    assert str(errors.ConfigurationError("no such key")) == "no such key"


def test_a_missing_extra_says_what_to_install():
    """The command is in the message."""
    assert "pip install 'microup[kafka]'" in str(errors.MissingExtra("kafka:", "kafka"))
    assert str(errors.MissingExtra("--infra", "prod,infra")) == (
        "--infra needs the extras 'prod,infra'; run: pip install 'microup[prod,infra]'"
    )


def test_a_port_in_use_names_owner_address_and_hint():
    """Who wants it, where, and how to choose another."""
    text = str(errors.PortInUse("gateway", "127.0.0.1", 8000, hint="choose another with --port"))
    assert text == "gateway: 127.0.0.1:8000 is in use; choose another with --port"
    assert str(errors.PortInUse("user", "127.0.0.1", 8001)) == "user: 127.0.0.1:8001 is in use"


def test_a_failed_publish_knows_what_was_acknowledged():
    """The relay deletes exactly these."""
    assert errors.PublishFailed("gone", acknowledged=frozenset({0, 2})).acknowledged == {0, 2}
