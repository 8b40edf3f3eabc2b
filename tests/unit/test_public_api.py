"""The names that `micro` exports: a list that changes on purpose only."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import micro

SOURCE = ast.parse(Path(micro.__file__).read_text())

PUBLIC = [
    "Api",
    "CallError",
    "Clock",
    "CloudEvent",
    "ConfigurationError",
    "ConstraintViolation",
    "Event",
    "EventTooLarge",
    "Id",
    "Identity",
    "Items",
    "JsonResponse",
    "MicroError",
    "Page",
    "Problem",
    "Reply",
    "Resources",
    "Retry",
    "Service",
    "StoreError",
    "StoreUnavailable",
    "Timestamp",
    "TokenError",
    "Transaction",
    "TransactionTimeout",
    "UniqueViolation",
    "__version__",
    "new_id",
    "restore_context",
    "rfc3339",
    "save_context",
]


def for_type_checkers():
    """Name to module, as the imports for type checkers have it."""
    (block,) = (node for node in SOURCE.body if isinstance(node, ast.If))
    return {alias.name: node.module for node in block.body for alias in node.names}


def test_the_exported_names_are_these():
    assert micro.__all__ == PUBLIC


def test_the_names_are_sorted():
    assert micro.__all__ == sorted(micro.__all__)


def test_type_checkers_and_programs_find_the_same_names_in_the_same_modules():
    assert for_type_checkers() == micro._HOME
    assert set(micro.__all__) == set(micro._HOME)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_can_be_imported(name):
    assert getattr(micro, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'micro' has no attribute 'Serviqe'"):
        _ = micro.Serviqe


def test_every_name_is_listed():
    assert set(PUBLIC) <= set(dir(micro))


def test_importing_micro_imports_nothing_else_of_it():
    code = "import micro, sys; print([m for m in sys.modules if m.startswith('micro.') or m in ('msgspec', 'starlette')])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_package_says_that_it_is_typed():
    assert files("micro").joinpath("py.typed").is_file()
