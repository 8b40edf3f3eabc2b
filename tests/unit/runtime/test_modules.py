"""A service's code is what it imports; it can be imported anew, or left as it was."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from micro.runtime.modules import code_of, import_anew
from micro.stack import Member

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`code(**{"a.b": source})` writes modules that can be imported until the test ends."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    def write(**modules: str) -> None:
        for name, source in modules.items():
            path = tmp_path.joinpath(*name.split("."))
            path = (
                path / "__init__.py" if "." not in name and source == "package" else path.with_suffix(".py")
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("" if source == "package" else source)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def service(target: str, kind: str = "app") -> Member:
    importlib.import_module(target.partition(":")[0])
    return Member(name="x", **{kind: target})


def test_imports_are_followed_in_every_form_and_place(code: Any) -> None:
    code(
        **{
            "kiosk": "package",
            "kiosk.web": "import json\nfrom kiosk import prices\nfrom .stock import amount\napp = print\n",
            "kiosk.prices": "def late():\n    import kiosk.tax\n",
            "kiosk.stock": "from . import units\namount = 1\n",
            "kiosk.units": "",
            "kiosk.tax": "",
            "kiosk.unused": "",
        }
    )
    importlib.import_module("kiosk.tax")
    importlib.import_module("kiosk.unused")
    found = code_of(service("kiosk.web:app"))
    assert set(found.imports) == {
        "kiosk",
        "kiosk.web",
        "kiosk.prices",
        "kiosk.stock",
        "kiosk.units",
        "kiosk.tax",
    }
    assert found.imports["kiosk.stock"] == {"kiosk", "kiosk.units"}
    assert {path.name for path in found.files} >= {"web.py", "tax.py", "__init__.py"}


def test_a_package_is_watched_with_what_is_below_and_a_single_module_is_not(
    code: Any, tmp_path: Path
) -> None:
    code(**{"kiosk": "package", "kiosk.web": "import till\napp = print\n", "till": ""})
    found = code_of(service("kiosk.web:app"))
    assert found.folders == {tmp_path / "kiosk"}
    assert found.flat == {tmp_path}


def test_the_app_that_a_service_names_belongs_to_it(code: Any) -> None:
    declared = "from micro import Service\nservice = Service('x', app='kiosk_web:app')\n"
    code(kiosk_service=declared, kiosk_web="app = print\n")
    importlib.import_module("kiosk_web")
    found = code_of(service("kiosk_service:service", "service"))
    assert set(found.imports) == {"kiosk_service", "kiosk_web"}


def test_libraries_and_micro_itself_are_not_followed(code: Any) -> None:
    code(kiosk="import starlette.applications\nfrom micro.web import problems\napp = print\n")
    assert set(code_of(service("kiosk:app")).imports) == {"kiosk"}


def test_a_built_in_service_is_followed_within_its_own_package() -> None:
    found = code_of(service("micro.services.task.service:service", "service"))
    assert "micro.services.task.domain" in found.imports
    assert all(name.startswith("micro.services.task.") for name in found.imports)
    [folder] = found.folders
    assert folder.parts[-3:] == ("micro", "services", "task")


def test_a_file_that_does_not_parse_any_more_ends_the_search_there(code: Any, tmp_path: Path) -> None:
    code(kiosk="import till\napp = print\n", till="")
    member = service("kiosk:app")
    (tmp_path / "kiosk.py").write_text("import till\napp = (")
    assert set(code_of(member).imports) == {"kiosk"}


def test_a_change_reaches_everything_that_imports_it_at_any_remove(code: Any) -> None:
    code(kiosk="import till, sign\napp = print\n", till="import coins\n", sign="", coins="")
    found = code_of(service("kiosk:app"))
    assert found.reaching(["coins"]) == {"coins", "till", "kiosk"}
    assert found.reaching(["sign"]) == {"sign", "kiosk"}
    assert found.reaching(["nowhere"]) == set()


def test_modules_are_imported_anew_even_after_a_quick_edit_of_the_same_length(
    code: Any, tmp_path: Path
) -> None:
    code(kiosk="WORD = 'old'\n")
    old = importlib.import_module("kiosk")
    (tmp_path / "kiosk.py").write_text("WORD = 'new'\n")
    new = import_anew({"kiosk"}, [tmp_path / "kiosk.py"], lambda: importlib.import_module("kiosk"))
    assert (old.WORD, new.WORD) == ("old", "new")
    assert sys.modules["kiosk"] is new


def test_an_import_that_fails_leaves_every_module_as_it_was(code: Any, tmp_path: Path) -> None:
    code(**{"kiosk": "package", "kiosk.web": "from kiosk import till\n", "kiosk.till": ""})
    old = importlib.import_module("kiosk.web")
    package = sys.modules["kiosk"]
    code(**{"kiosk.web": "from kiosk import till, extra\nraise OSError\n", "kiosk.extra": ""})
    with pytest.raises(OSError):
        import_anew({"kiosk.web", "kiosk.till"}, [], lambda: importlib.import_module("kiosk.web"))
    assert sys.modules["kiosk.web"] is package.web is old  # type: ignore[attr-defined] # a submodule
    assert "kiosk.extra" not in sys.modules
