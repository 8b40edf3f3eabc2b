"""Settings that can change while the stack runs are put in force; the others are named."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from micro.config.read import read_config
from micro.errors import ConfigurationError
from micro.runtime.settings import LIVE, Choice, Settings
from micro.spec.gateway import GatewaySpec


@pytest.fixture
def system(build: Any) -> Any:
    return build()


@pytest.fixture
def settings(system: Any, folder: Any) -> Settings:
    return Settings(system, read=lambda: read_config(folder, {}))


def edit(folder: Any, old: str, new: str) -> None:
    text = (folder / "micro.toml").read_text()
    assert old in text
    (folder / "micro.toml").write_text(text.replace(old, new))


def paths(system: Any) -> list[str]:
    return [row["path"] for row in system.gateway.table()]


def test_without_a_change_nothing_is_done(settings: Settings) -> None:
    assert settings.reread() == {"changed": False, "notes": []}


def test_routes_and_limits_are_in_force_at_once(settings: Settings, system: Any, folder: Any) -> None:
    edit(folder, "port = 0", 'port = 0\nrate_limit = "7/second"')
    edit(folder, 'routes = ["/plain"]', 'routes = ["/plain", "/simple"]')
    assert settings.reread() == {"changed": True, "notes": ["the gateway's settings are in force"]}
    assert "/simple" in paths(system)
    assert system.gateway.spec.rate_limit.limit == 7
    assert system.shared.stack.gateway.rate_limit.limit == 7


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("port = 0", 'port = 0\nmax_head = "1KiB"', "gateway.max_head"),
        ("port = 0", 'port = 0\nadapter = "asgi"', "gateway.adapter"),
        ('app = "plain:app"', 'app = "plain:app"\nupstream = { queue = 1 }', "services.plain.upstream"),
        ('app = "plain:app"', 'app = "plain:app"\nport = 9', "services.plain.port"),
        ('app = "plain:app"', 'app = "plain:app"\nenv = { A = "b" }', "services.plain.env"),
        ("[gateway]", '[profiles.dev]\nstore = "sqlite:x/{service}.db"\n[gateway]', "profiles.dev"),
    ],
)
def test_what_needs_a_restart_is_named(
    settings: Settings, system: Any, folder: Any, old: str, new: str, key: str
) -> None:
    edit(folder, old, new)
    assert settings.reread() == {"changed": False, "notes": [f"restart needed: {key} changed"]}


def test_every_setting_is_either_live_or_needs_a_restart() -> None:
    """A new one has to be put somewhere, and the reference says which are which."""
    restart = {"adapter", "head_timeout", "host", "issuers", "max_head", "metrics_public", "min_rate", "port"}
    assert {field.name for field in fields(GatewaySpec)} == {*LIVE} | restart | {"providers"}
    page = (Path(__file__).parents[3] / "docs" / "reference" / "configuration.md").read_text()
    (told,) = re.findall(r"^Live: (.*)$", page, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", told)) == {*LIVE}


def test_hosts_are_in_force_at_once_on_the_services_ports_too(
    settings: Settings, system: Any, folder: Any
) -> None:
    edit(folder, "port = 0", 'port = 0\nhosts = ["shop.test"]')
    assert settings.reread()["changed"] is True
    assert system.shared.hosts.refusal([(b"host", b"shop.test")]) is None
    assert system.shared.hosts.refusal([(b"host", b"localhost")]) is not None


def test_the_hosts_of_routes_are_answered_to(settings: Settings, system: Any, folder: Any) -> None:
    route = '[[gateway.routes]]\npath = "/orders"\nservice = "shop"\nhost = "*.shop.test"\n'
    edit(folder, "[gateway]", f"{route}[gateway]")
    assert settings.reread()["changed"] is True
    asked = [("host", "a.shop.test")]
    assert system.gateway.explain("GET", "/orders", headers=asked)["route"]["host"] == "*.shop.test"
    assert system.shared.hosts.refusal([(b"host", b"a.shop.test")]) is None
    assert system.shared.hosts.refusal([(b"host", b"localhost")]) is None


def test_a_service_elsewhere_is_followed_to_its_new_urls(build: Any, folder: Any) -> None:
    edit(
        folder,
        "[services.plain]",
        '[services.far]\nurl = "http://10.0.0.5:80"\nroutes = ["/far"]\n[services.plain]',
    )
    system = build()
    settings = Settings(system, read=lambda: read_config(folder, {}))
    edit(folder, '"http://10.0.0.5:80"', '["http://10.0.0.6:80", "http://10.0.0.7:80"]')
    assert settings.reread() == {"changed": True, "notes": ["the gateway's settings are in force"]}
    (row,) = [row for row in system.gateway.table() if row["service"] == "far"]
    assert [each["instance"] for each in row["instances"]] == ["10.0.0.6:80", "10.0.0.7:80"]
    assert settings.reread() == {"changed": False, "notes": []}
    edit(folder, 'url = ["http://10.0.0.6:80", "http://10.0.0.7:80"]', 'command = "node far.js"')
    assert "restart needed: services.far.url changed" in settings.reread()["notes"]


def test_a_policy_that_cannot_be_imported_changes_nothing(
    settings: Settings, system: Any, folder: Any
) -> None:
    edit(folder, "port = 0", 'port = 0\nrate_limit = "7/second"\npolicies = ["json:Nobody"]')
    plan = system.gateway.plan
    with pytest.raises(ConfigurationError, match=r"micro\.toml: gateway\.policies\.0: json has no 'Nobody'"):
        settings.reread()
    assert system.gateway.plan is plan


def test_what_came_of_it_is_told(settings: Settings, folder: Any) -> None:
    told: list[str] = []
    settings.follow(told.append)
    edit(folder, "port = 0", 'port = 0\nmax_body = "1KiB"')
    settings.follow(told.append)
    edit(folder, "max_body", "max_boby")
    settings.follow(told.append)
    settings.follow(told.append)
    assert told[0] == "the gateway's settings are in force"
    assert told[1].startswith("the settings stay as they were: micro.toml: gateway.max_boby: unknown key")
    assert told[1] == told[2]
    settings.follow(told.append, news_only=True)
    assert len(told) == 3


def test_a_file_that_is_gone_changes_nothing(settings: Settings, system: Any, folder: Any) -> None:
    """It stands for the built-in stack at a start; here it is a slip, or an editor that is about to put it back."""
    text = (folder / "micro.toml").read_text()
    (folder / "micro.toml").unlink()
    with pytest.raises(ConfigurationError, match=r"micro\.toml: is gone; put it back"):
        settings.reread()
    assert paths(system) == ["/orders", "/plain"]
    (folder / "micro.toml").write_text(text)
    assert settings.reread() == {"changed": False, "notes": []}


def test_env_files_count_as_settings(settings: Settings, folder: Any) -> None:
    (folder / ".env").write_text("A=b\n")
    assert settings.reread()["notes"] == ["restart needed: .env changed"]


def test_a_service_more_or_less_needs_a_restart_and_changes_no_route(
    settings: Settings, system: Any, folder: Any
) -> None:
    edit(folder, "[services.plain]", "[services.bare]")
    assert settings.reread() == {
        "changed": False,
        "notes": [
            "restart needed: services.bare changed",
            "restart needed: services.plain changed",
            "the gateway's settings stay as they were until then",
        ],
    }
    assert paths(system) == ["/orders", "/plain"]


@pytest.mark.parametrize("wrong", ["[gateway", 'rate_limit = "many"', 'routs = ["/x"]'])
def test_wrong_settings_change_nothing(settings: Settings, system: Any, folder: Any, wrong: str) -> None:
    edit(folder, "port = 0", f"port = 0\n{wrong}")
    with pytest.raises(ConfigurationError, match=r"micro\.toml"):
        settings.reread()
    assert paths(system) == ["/orders", "/plain"]


def test_of_some_services_just_their_routes_are_followed(build: Any, folder: Any) -> None:
    choice = Choice(names=("shop",))
    system = build(choice=choice)
    settings = Settings(system, choice=choice, read=lambda: read_config(folder, {}))
    edit(folder, 'routes = ["/plain"]', 'routes = ["/simple"]')
    assert settings.reread()["changed"] is False
    assert paths(system) == ["/orders"]


def test_without_a_way_to_read_them_the_files_are_not_looked_at(system: Any, folder: Any) -> None:
    (folder / "micro.toml").write_text("[gateway")
    assert Settings(system).reread() == {"changed": False, "notes": []}


def test_routes_that_a_reloaded_service_declares_are_put_in_force(settings: Settings, system: Any) -> None:
    system.services["shop"].service.routes = ("/orders", "/baskets")
    assert settings.follow_services() == []
    assert paths(system) == ["/baskets", "/orders", "/plain"]


def test_routes_that_collide_stay_as_they_were(settings: Settings, system: Any) -> None:
    system.services["shop"].service.routes = ("/plain",)
    [note] = settings.follow_services()
    assert note.startswith("the routes stay as they were: ")
    assert paths(system) == ["/orders", "/plain"]


def test_another_port_in_the_code_needs_a_restart(settings: Settings, system: Any) -> None:
    system.services["shop"].service.port = 4711
    assert settings.follow_services() == ["restart needed: services.shop.port changed"]
