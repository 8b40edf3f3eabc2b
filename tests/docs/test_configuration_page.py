"""The reference of `micro.toml` is complete, and what it shows is a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest

from micro.config.read import File, read_config
from micro.spec.formats import RESERVED
from micro.spec.validate import keys_of

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text()
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def inner_tables(hint):
    """The kinds of table that a value of this type holds, with what its heading adds: nothing, a name, an item."""
    if get_origin(hint) is Annotated:
        return  # a value of its own form, such as a rate
    if is_dataclass(hint):
        yield hint, "{}", ""
    for inner in get_args(hint):
        if is_dataclass(inner) and keys_of(inner):
            yield (
                inner,
                "[{}]" if get_origin(hint) is tuple else "{}",
                ".NAME" * (get_origin(hint) is Mapping),
            )


def tables(kind, name):
    """Every table below `kind`: its heading in the page, and its keys."""
    for key, hint in keys_of(kind).items():
        for inner, brackets, end in inner_tables(hint):
            path = f"{name}.{key}{end}".strip(".")
            yield f"[{brackets.format(path)}]", keys_of(inner)
            yield from tables(inner, path)


TABLES = list(tables(File, ""))


def section(heading):
    """The part of the page below a table's heading."""
    start = re.search(rf"^#+ `{re.escape(heading)}`$", PAGE, re.MULTILINE)
    assert start, f"no heading for {heading}"
    return re.split(r"^#+ ", PAGE[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize(("heading", "keys"), TABLES, ids=[heading for heading, _ in TABLES])
def test_every_key_stands_in_the_table_of_its_section(heading, keys):
    listed = re.findall(r"^\| `(\w+)` \|", section(heading), re.MULTILINE)
    assert listed == [key for key, hint in keys.items() if not list(inner_tables(hint))]


def test_every_table_of_the_page_is_one():
    """And stands where its keys are."""
    headings = re.findall(r"^#+ `(\[.*\])`$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted(heading for heading, _ in TABLES)


def test_the_names_that_no_service_can_have_are_told():
    (sentence,) = re.findall(r"^A name has .*?; (.*?) are taken by", section("[services.NAME]"), re.MULTILINE)
    assert set(re.findall("`(.+?)`", sentence)) == RESERVED


@pytest.mark.parametrize("text", BLOCKS)
def test_every_example_is_a_configuration(tmp_path, text):
    (tmp_path / "micro.toml").write_text(text)
    config = read_config(tmp_path, {})
    for name in re.findall(r"^\[profiles\.(\w+)\]", text, re.MULTILINE):
        assert config.profile(name).name == name
    for name in config.stack.names:
        config.service_env(name)


def test_there_is_an_example():
    assert BLOCKS
