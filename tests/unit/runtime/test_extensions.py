"""Edits to the code of policies."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from micro.config.imports import import_target
from micro.errors import ConfigurationError
from micro.runtime.extensions import ExtensionCode, outcome
from micro.spec.gateway import GatewaySpec, Route
from micro.spec.validate import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("kiosk_words", "kiosk_policy")


class Gateway:
    """Imports what its specification names, whenever it is put in force."""

    def __init__(self, root: Path, *targets: str) -> None:
        self.root = root
        self.found: list[Any] = []
        self.reconfigure(GatewaySpec(policies=targets, routes=(Route(path="/", service="a"),)))

    def reconfigure(self, spec: GatewaySpec) -> None:
        place = Place("micro.toml", ("gateway", "policies"))
        self.found = [import_target(target, self.root, place) for target in spec.policies]
        self.spec = spec
        self.plan = SimpleNamespace(spec=spec)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(tmp_path))

    def file(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return path.resolve()

    yield file
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def files(write: Any) -> tuple[Path, Path]:
    words = write("kiosk_words", 'WORD = "old"\n')
    policy = write("kiosk_policy", "from kiosk_words import WORD\nclass Policy:\n    word = WORD\n")
    return words, policy


def made(tmp_path: Path, *targets: str) -> tuple[Gateway, ExtensionCode]:
    gateway = Gateway(tmp_path, *targets)
    return gateway, ExtensionCode(gateway)  # type: ignore[arg-type] # a double


def test_what_a_policy_imports_belongs_to_it(tmp_path: Path, files: Any) -> None:
    _, code = made(tmp_path, "kiosk_policy:Policy")
    assert set(code.code.files) == set(files)
    assert code.concerns([files[0]])
    assert not code.concerns([tmp_path / "other.py"])


def test_without_extensions_nothing_concerns_it(tmp_path: Path, files: Any) -> None:
    _, code = made(tmp_path)
    assert code.code.files == {}
    assert not code.concerns(files)


def test_libraries_are_not_followed(tmp_path: Path) -> None:
    _, code = made(tmp_path, "starlette.middleware.gzip:GZipMiddleware")
    assert code.code.files == {}


def test_an_edit_is_put_in_force(tmp_path: Path, files: Any, write: Any) -> None:
    gateway, code = made(tmp_path, "kiosk_policy:Policy")
    write("kiosk_words", 'WORD = "new"\n')
    assert outcome(code, [files[0]], renewed=()) == "the gateway's policies are loaded anew: kiosk_words.py"
    assert gateway.found[0].word == "new"


def test_what_a_service_has_just_loaded_is_not_loaded_twice(tmp_path: Path, files: Any, write: Any) -> None:
    gateway, code = made(tmp_path, "kiosk_policy:Policy")
    before = sys.modules["kiosk_words"]
    code.renew([files[0]], renewed={"kiosk_words"})
    assert sys.modules["kiosk_words"] is before
    assert gateway.found[0].__module__ == "kiosk_policy"


def test_a_broken_one_leaves_all_as_it_was_until_it_is_mended(tmp_path: Path, files: Any, write: Any) -> None:
    gateway, code = made(tmp_path, "kiosk_policy:Policy")
    write("kiosk_policy", "class")
    said = outcome(code, [files[1]], renewed=())
    assert said.startswith(
        "the gateway's policies stay as they were: micro.toml: gateway.policies: can't import"
    )
    assert gateway.found[0].word == "old"
    assert code.concerns([tmp_path / "any.py"])
    with pytest.raises(ConfigurationError):
        code.renew([files[1]])
    write("kiosk_policy", "class Policy:\n    word = 'mended'\n")
    code.renew([files[1]])
    assert gateway.found[0].word == "mended"
    assert not code.concerns([tmp_path / "any.py"])


def test_other_settings_have_other_code(tmp_path: Path, files: Any) -> None:
    gateway, code = made(tmp_path)
    assert not code.concerns(files)
    gateway.reconfigure(GatewaySpec(policies=("kiosk_policy:Policy",)))
    assert code.concerns(files)
