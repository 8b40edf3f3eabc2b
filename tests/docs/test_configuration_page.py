"""The reference of `micro.toml` is complete, and what it shows is a configuration."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args

import pytest

from micro.config import File, read_config
from micro.formats import RESERVED
from micro.validate import keys_of

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text()
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def tables(kind, name):
    """Every table below `kind`: its heading in the page, and its keys."""
    yield name, keys_of(kind)
    for key, hint in keys_of(kind).items():
        for inner in (hint, *get_args(hint)):
            if is_dataclass(inner) and keys_of(inner):
                yield from tables(inner, f"{name}.{key}".strip("."))


def section(heading):
    """The part of the page below a table's heading."""
    start = re.search(rf"^#+ `\[+{re.escape(heading)}(\.NAME)?\]+`$", PAGE, re.MULTILINE)
    assert start, f"no heading for [{heading}]"
    return re.split(r"^#+ ", PAGE[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize(("heading", "keys"), list(tables(File, ""))[1:])
def test_every_key_stands_in_the_table_of_its_section(heading, keys):
    plain = {
        key for key, hint in keys.items() if not any(is_dataclass(inner) for inner in (hint, *get_args(hint)))
    }
    limits = {key for key in keys if key == "rate_limit"}
    listed = set(re.findall(r"^\| `(\w+)` \|", section(heading), re.MULTILINE))
    assert listed == plain | limits


def test_the_names_that_no_service_can_have_are_told():
    (sentence,) = re.findall(r"^A name has .*?; (.*?) are taken by", section("services"), re.MULTILINE)
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
