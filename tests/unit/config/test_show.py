"""The effective configuration, ready to print."""

from __future__ import annotations

import pytest

from micro.config.read import read_config


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
        '[stack]\nbuiltin = true\n[services.task.env]\nSTRIPE_KEY = "abc"\nMODE = "x"\n[profiles.prod]\nreplicas = { task = 2 }\n'
        'store = "postgresql://micro:${PGPASSWORD}@127.0.0.1:5432/{service}"',
        "prod",
        {"PGPASSWORD": "hunter2"},
    )
    assert rows["profiles.prod.store"][0] == "postgresql://micro:***@127.0.0.1:5432/{service}"
    assert rows["services.task.env.STRIPE_KEY"] == ("***", "micro.toml")
    assert rows["services.task.env.MODE"] == ("x", "micro.toml")
    assert rows["profiles.prod.replicas.task"] == ("2", "micro.toml")


REMOTE = """
[services.shop]
url = ["http://10.0.0.5:9000", "http://10.0.0.6:9000"]
upstream = { first_byte_timeout = "5s", retry = { statuses = [503, 429] } }

[services.web]
app = "web:app"
upstream = { balance = "hash" }

[gateway.api_keys.ci]
hash = "sha256:%s"
scopes = ["read", "deploy"]

[gateway.auth]
issuers = ["stack"]

[gateway.auth.providers.company]
issuer = "https://id.example.com"
jwks = "https://id.example.com/keys"
audience = ["shop"]
""" % ("0" * 64)


def test_every_kind_of_value_is_shown_as_it_would_be_written(shown):
    rows = shown(REMOTE)
    assert rows["services.shop.url"][0] == "http://10.0.0.5:9000, http://10.0.0.6:9000"
    assert rows["services.shop.upstream.first_byte_timeout"] == ("5s", "micro.toml")
    assert rows["services.shop.upstream.retry.statuses"][0] == "503, 429"
    assert rows["services.shop.upstream.slow_start"] == ("0s", "built-in")
    assert rows["services.shop.upstream.probe.interval"] == ("2s", "built-in")
    assert rows["gateway.api_keys.ci.scopes"] == ("deploy, read", "micro.toml")
    assert rows["gateway.api_keys.ci.role"][0] == "user"
    assert rows["gateway.auth.providers.company.issuer"] == ("https://id.example.com", "micro.toml")
    assert rows["gateway.auth.providers.company.role_claim"] == ("role", "built-in")


def test_of_a_service_in_this_process_no_more_of_the_upstream_than_was_set(shown):
    rows = shown(REMOTE)
    assert {key for key in rows if key.startswith("services.web.upstream")} == {
        "services.web.upstream.balance"
    }
