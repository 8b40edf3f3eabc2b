"""The reference of the author's API has every public name, with its real parameters, fields and methods."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import msgspec
import pytest

import micro
import micro.gateway
import micro.testing

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "api.md").read_text()
REST, _, TESTING = PAGE.partition("\n## `micro.testing`\n")
OURS, _, GATEWAY = REST.partition("\n## `micro.gateway`\n")
ERRORS = re.split("^## ", OURS.partition("\n## Errors\n")[2], flags=re.MULTILINE)[0]
CALLS = re.compile(r"`([A-Za-z_]+(?:\.[a-z_]+)?)\(([^`]*)\)`")


def sections(page):
    return dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE))


SECTIONS = {
    **{name: (getattr(micro, name), text) for name, text in sections(OURS).items()},
    **{name: (getattr(micro.gateway, name), text) for name, text in sections(GATEWAY).items()},
    **{name: (getattr(micro.testing, name), text) for name, text in sections(TESTING).items()},
}
CLASSES = [
    name
    for name, (value, _) in SECTIONS.items()
    if inspect.isclass(value) and not name.endswith("Contract") and name not in {"Event", "Exchange"}
]
LINES = [
    (call, parameters)
    for line in PAGE.splitlines()
    if line.startswith("- `")
    for call, parameters in CALLS.findall(line.partition("`: ")[0].rstrip(":") + "`")
]


def written(value):
    return re.sub(r"datetime.datetime\((.*), 0, 0, tz.*\)", r"datetime(\1, tzinfo=UTC)", repr(value))


def real_parameters(call):
    """The parameters of a class or method, as the page writes them: without annotations and `self`."""
    name, _, method = call.partition(".")
    value = SECTIONS[name][0]
    function = getattr(value, method) if method else value
    shown, keyword_only = [], False
    for each in inspect.signature(function).parameters.values():
        if each.name == "self":
            continue
        if each.kind is each.VAR_POSITIONAL:
            keyword_only = True
        elif each.kind is each.KEYWORD_ONLY and not keyword_only:
            shown.append("*")
            keyword_only = True
        stars = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        default = "" if each.default is each.empty else f"={written(each.default)}"
        shown.append(f"{stars}{each.name}{default}")
    return ", ".join(shown)


def members(cls):
    """What a class has for its users: public methods and properties of its own, and fields."""
    found = {name for name in vars(cls) if not name.startswith("_")}
    if is_dataclass(cls):
        found |= {each.name for each in fields(cls)}
    if issubclass(cls, msgspec.Struct):
        found |= set(cls.__struct_fields__)
    return found


def test_every_public_name_of_micro_is_there():
    errors = re.findall(r"^\| `(\w+)` \|", ERRORS, re.MULTILINE)
    assert sorted([*sections(OURS), *errors]) == micro.__all__


def test_every_public_name_of_the_gateway_is_there():
    assert sorted(sections(GATEWAY)) == micro.gateway.__all__


def test_an_exchange_has_the_attributes_that_the_page_shows():
    """It has more, which are the gateway's own."""
    shown = [
        name
        for cell in re.findall(r"^\| (`.*?) \|", SECTIONS["Exchange"][1], re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    ]
    assert len(shown) > 15
    assert set(shown) <= set(micro.gateway.Exchange.__slots__)


def test_every_public_name_of_the_testing_tools_is_there():
    assert sorted(sections(TESTING)) == sorted(micro.testing.__all__)


@pytest.mark.parametrize(("call", "parameters"), LINES)
def test_a_call_has_the_parameters_that_the_page_shows(call, parameters):
    assert parameters == real_parameters(call)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_has_all_its_members_on_the_page(name):
    cls, text = SECTIONS[name]
    named = set(re.findall(rf"`(?:{name}\.)?(\w+)[`(]", text))
    assert members(cls) - {"features", "media_type"} <= named


def test_the_errors_become_the_statuses_that_the_page_says():
    from micro.web.problems import to_problem

    for name, status in re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", ERRORS, re.MULTILINE):
        assert to_problem(getattr(micro, name)("why")).status == int(status), name
