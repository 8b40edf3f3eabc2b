"""What `micro.gateway` exports for authors of policies."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import micro.gateway

PUBLIC = ["Answer", "BodyFilter", "Exchange", "Route", "refuse"]


def test_the_exported_names_are_these():
    assert micro.gateway.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(micro.gateway))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_can_be_imported(name):
    assert getattr(micro.gateway, name) is not None


def test_type_checkers_and_programs_find_the_same_names_in_the_same_modules():
    tree = ast.parse(Path(micro.gateway.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert {alias.name: node.module for node in block.body for alias in node.names} == micro.gateway._HOME


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'micro.gateway' has no attribute 'Exchang'"):
        _ = micro.gateway.Exchang


def test_importing_it_imports_nothing_else():
    code = "import micro.gateway, sys; print([m for m in sys.modules if m.startswith('micro.gateway.')])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
