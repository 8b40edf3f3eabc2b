"""The effective configuration, ready to print."""

from __future__ import annotations

import pytest

from micro.config import read_config


@pytest.fixture
def shown(tmp_path):
    """Key to value and origin."""

    def show(text="", name=None, environ=None):
        (tmp_path / "micro.toml").write_text(text)
        config = read_config(tmp_path, environ or {})
        return {row.key: (row.value, row.origin) for row in config.describe(config.profile(name))}

    return show


def test_every_value_is_shown_with_its_origin(shown):
    rows = shown("[gateway]\nport = 9000", environ={"MICRO_GATEWAY_HOST": "0.0.0.0"})
    assert rows["gateway.port"] == ("9000", "micro.toml")
    assert rows["gateway.host"] == ("0.0.0.0", "environment MICRO_GATEWAY_HOST")
    assert rows["gateway.rate_limit"] == ("100/minute", "built-in")
    assert rows["gateway.max_body"] == ("1MiB", "built-in")
    assert rows["gateway.cors.credentials"] == ("false", "built-in")
    assert rows["gateway.auth.issuers"] == ("service:user, stack", "built-in")
    assert rows["services.task.depends"] == ("user", "built-in")
    assert rows["profiles.dev.store"] == ("sqlite:.micro/{service}.db", "built-in")
    assert rows["stack.name"] == ("micro", "built-in")


def test_what_is_not_set_and_the_routes_are_left_out(shown):
    rows = shown()
    assert "gateway.hosts" not in rows
    assert "services.task.app" not in rows
    assert not any(key.startswith("gateway.routes") for key in rows)


def test_a_port_of_zero_is_shown(shown):
    assert shown("[gateway]\nport = 0")["gateway.port"] == ("0", "micro.toml")


def test_secrets_are_hidden(shown):
    rows = shown(
        '[stack]\nbuiltin = true\n[services.task.env]\nSTRIPE_KEY = "abc"\nMODE = "x"\n[profiles.prod]\nreplicas = { task = 2 }',
        "prod",
        {"PGPASSWORD": "hunter2"},
    )
    assert rows["profiles.prod.store"][0] == "postgresql://micro:***@127.0.0.1:5432/{service}"
    assert rows["services.task.env.STRIPE_KEY"] == ("***", "micro.toml")
    assert rows["services.task.env.MODE"] == ("x", "micro.toml")
    assert rows["profiles.prod.replicas.task"] == ("2", "micro.toml")
