"""The reference of the command line has every verb and option there is, and none that there isn't."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from micro.cli import VERBS, command

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text()
SECTIONS = dict(re.findall(r"^### `micro ([a-z ]+)`\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
ROW = re.compile(r"^\| (`.+) \|$", re.MULTILINE)


def real_verbs():
    """Every verb by its full name, as Typer has it."""
    root = command()
    for name in VERBS:
        found = root.find(name)
        below = getattr(found, "commands", None)
        if below:
            yield from ((f"{name} {inner}", verb) for inner, verb in below.items())
        else:
            yield name, found


REAL = dict(real_verbs())
COMMON = {"-C", "--profile", "--dev", "--prod"}


def row(parameter):
    """One line of a table: how the parameter is written, what it does, and what it is unless said."""
    value = f" {parameter.metavar}" if parameter.metavar else ""
    if parameter.param_type_name == "argument":
        dots = " …" if parameter.nargs == -1 else ""
        left = f"`{parameter.metavar}{dots}`" if parameter.required else f"`[{parameter.metavar}{dots}]`"
    else:
        left = ", ".join(f"`{flag}{value}`" for flag in (*parameter.opts, *parameter.secondary_opts))
    shown = parameter.default and parameter.default != "." and not getattr(parameter, "is_flag", False)
    default = f" Unless said: `{parameter.default}`." if shown else ""
    return f"{left} | {parameter.help}{default}".replace("\\|", "|")


def own(verb):
    return [row(each) for each in verb.params if not COMMON & set(each.opts)]


def words(text):
    return " ".join(text.split())


def test_the_page_has_a_section_for_every_verb_in_their_order():
    assert list(SECTIONS) == list(REAL)


@pytest.mark.parametrize("name", REAL)
def test_a_section_has_the_help_and_every_option_of_its_verb(name):
    prose, _, example = REAL[name].help.partition("\b\nExample: ")
    assert words(prose) in words(SECTIONS[name].replace("`", ""))
    assert f"```sh\n{example.strip()}\n" in SECTIONS[name]
    assert ROW.findall(SECTIONS[name]) == own(REAL[name])


def test_what_every_verb_takes_is_told_once():
    (table,) = re.findall(r"^## Every verb\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE)
    common = [row(each) for each in REAL["ps"].params if COMMON & set(each.opts)]
    assert set(ROW.findall(table)) >= set(common)
    for name, verb in REAL.items():
        taken = {flag for each in verb.params for flag in each.opts}
        assert taken >= COMMON, name


def test_every_group_is_introduced():
    root = command()
    for name in VERBS:
        if getattr(root.find(name), "commands", None):
            assert f"\n## `micro {name}`\n" in PAGE
