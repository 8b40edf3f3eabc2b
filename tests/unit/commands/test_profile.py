"""`micro profile …`: read from the configuration; nothing has to run."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _secrets(home):
    (home / "micro.toml").write_text(
        '[profiles.team]\nrunner = "single"\nstore = "postgresql://ada:hunter2@db/{service}"\nbus = "memory:"\ncache = "memory:"\n'
    )


def test_list_names_every_profile_with_its_back_ends(micro):
    code, out, _ = micro("profile", "list")
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert rows["NAME"] == ["RUNNER", "STORE", "BUS", "CACHE"]
    assert rows["dev"][0] == "single"
    assert {"dev", "prod", "team"} <= rows.keys()


def test_secrets_are_shown_nowhere(micro):
    for arguments in (["list"], ["list", "--json"], ["show", "team"], ["show", "team", "--json"]):
        result = micro("profile", *arguments)
        assert result.code == 0
        assert "hunter2" not in result.out
        assert "postgresql://ada:***@db/" in result.out


def test_show_says_where_each_value_comes_from(micro, monkeypatch):
    monkeypatch.setenv("MICRO_GATEWAY_PORT", "9000")
    shown = micro("profile", "show", "team", "--json").json
    assert shown["profile"] == "team"
    rows = {item["key"]: item for item in shown["items"]}
    assert rows["profiles.team.bus"]["origin"] == "micro.toml"
    assert rows["gateway.port"]["value"] == "9000"
    assert rows["gateway.port"]["origin"].startswith("environment")
    out = micro("profile", "show", "team").out
    assert out.splitlines()[0].split() == ["KEY", "VALUE", "ORIGIN"]


def test_show_is_of_the_profile_in_effect_unless_one_is_named(micro, monkeypatch):
    assert micro("profile", "show", "--json").json["profile"] == "dev"
    assert micro("profile", "show", "--profile", "team", "--json").json["profile"] == "team"
    monkeypatch.setenv("MICRO_PROFILE", "team")
    assert micro("profile", "show", "--json").json["profile"] == "team"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["show", "taem"], "did you mean 'team'?"), (["show", "team", "--dev"], "one profile at a time")],
)
def test_a_wrong_profile_is_one_sentence(micro, arguments, said):
    code, out, err = micro("profile", *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_a_local_server_that_runs_is_shown_where_it_is_without_its_password(micro, monkeypatch):
    def rows():
        items = micro("profile", "show", "prod", "--json").json["items"]
        return {item["key"]: (item["value"], item["origin"]) for item in items}

    assert rows()["profiles.prod.bus"] == ("infra:", "built-in")
    monkeypatch.setattr(
        "micro.infra.local.Local.urls", lambda self: {"bus": "kafka://micro:s3cret@127.0.0.1:7"}
    )
    assert rows()["profiles.prod.bus"] == ("kafka://micro:***@127.0.0.1:7", "micro infra")
    assert rows()["profiles.prod.store"] == ("infra:", "built-in")
