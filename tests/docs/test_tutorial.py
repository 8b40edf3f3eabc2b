"""The tutorial ends where its example is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "02-shop"

sys.path.insert(0, str(Path(__file__).parent))
import console

sys.path.pop(0)

FILES = {
    part.path: part.text
    for part in console.parts((ROOT / "docs" / "tutorial.md").read_text())
    if isinstance(part, console.File)
}
"""As the page leaves them: of a file that is shown twice the second."""


def test_the_tutorial_and_the_example_have_the_same_files():
    theirs = {
        str(path.relative_to(SHOP)) for path in SHOP.rglob("*") if path.suffix in {".py", ".sql", ".toml"}
    }
    assert set(FILES) == theirs


@pytest.mark.parametrize("path", sorted(FILES))
def test_a_file_of_the_tutorial_ends_as_the_example_has_it(path):
    assert FILES[path] == (SHOP / path).read_text()
