"""Settings that can change while the stack runs are put in force; the others are named."""

from __future__ import annotations

from typing import Any

import pytest

from micro.config import read_config
from micro.errors import ConfigurationError
from micro.runtime.settings import Choice, Settings


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
        ("port = 0", 'port = 0\nhosts = ["shop.test"]', "gateway.hosts"),
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


def test_env_files_count_as_settings(settings: Settings, folder: Any) -> None:
    (folder / ".env").write_text("A=b\n")
    assert settings.reread()["notes"] == ["restart needed: .env changed"]


def test_a_service_more_or_less_needs_a_restart_and_changes_no_route(
    settings: Settings, system: Any, folder: Any
) -> None:
    edit(folder, "[services.plain]", "[services.bare]")
    assert settings.reread() == {
        "changed": False,
        "notes": ["restart needed: services.bare changed", "restart needed: services.plain changed"],
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
