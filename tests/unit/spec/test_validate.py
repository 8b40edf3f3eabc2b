"""Tables checked against dataclasses."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read at run time, as the package's own dataclasses
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Annotated, Literal

import pytest

from micro.errors import ConfigurationError
from micro.spec.terms import DERIVED
from micro.spec.validate import Place, build, check, check_text, key_path, keys_of

PLACE = Place("x.toml")


@dataclass(kw_only=True)
class Wheel:
    """A table in an array."""

    size: int
    spare: bool = False


@dataclass(kw_only=True)
class Radio:
    """A table in a table."""

    on: bool = False


@dataclass(kw_only=True)
class Car:
    """A table."""

    name: str
    label: str = field(default="", metadata=DERIVED)
    port: Annotated[int, "port"] = 1
    kind: Literal["small", "large"] = "small"
    tags: tuple[str, ...] = ()
    methods: frozenset[Annotated[str, "method"]] | None = None
    wheels: tuple[Wheel, ...] = ()
    radio: Radio = field(default_factory=Radio)
    prices: Mapping[Annotated[str, "service name"], int] = field(default_factory=dict)
    timeout: Annotated[float, "duration"] | None = None
    remark: Annotated[str, "text"] = ""


def refused(table, kind=Car):
    with pytest.raises(ConfigurationError) as caught:
        check(table, kind, PLACE)
    assert str(caught.value).startswith("x.toml: ")
    return str(caught.value).removeprefix("x.toml: ")


def test_a_table_gives_the_keys_that_are_there():
    table = {"name": "a", "tags": ["x", "y"], "radio": {"on": True}, "prices": {"base": 5}, "timeout": "2s"}
    assert check(table, Car, PLACE) == {
        "name": "a",
        "tags": ("x", "y"),
        "radio": {"on": True},
        "prices": {"base": 5},
        "timeout": 2.0,
    }


def test_tables_in_an_array_are_complete():
    assert check({"wheels": [{"size": 3}]}, Car, PLACE) == {"wheels": (Wheel(size=3),)}
    assert refused({"wheels": [{"size": 3}, {}]}) == "wheels.1.size: is missing"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"nqme": "a"}, "nqme: unknown key; did you mean 'name'?"),
        ({"radio": {"onn": True}}, "radio.onn: unknown key; did you mean 'on'?"),
        ({"wheels": [{"sixe": 1}]}, "wheels.0.sixe: unknown key; did you mean 'size'?"),
        ({"label": "a"}, "label: unknown key; there is kind, methods"),
        ({"name": 1}, "name: must be a string, not an integer"),
        ({"name": True}, "name: must be a string, not true or false"),
        ({"name": 1.5}, "name: must be a string, not a number"),
        ({"name": []}, "name: must be a string, not an array"),
        ({"name": {}}, "name: must be a string, not a table"),
        ({"name": datetime(2026, 1, 1, tzinfo=UTC)}, "name: must be a string, not a date or time"),
        ({"name": date(2026, 1, 1)}, "name: must be a string, not a date or time"),
        ({"port": True}, "port: must be an integer, not true or false"),
        ({"port": 70_000}, "port: 70000 must be a port, from 0 to 65535"),
        ({"kind": "smalq"}, "kind: must be one of 'small', 'large'; did you mean 'small'?"),
        ({"kind": 1}, "kind: must be one of 'small', 'large'"),
        ({"kind": "zzzz"}, "kind: must be one of 'small', 'large'"),
        ({"tags": "x"}, "tags: must be an array, not a string"),
        ({"tags": ["x", 1]}, "tags.1: must be a string, not an integer"),
        ({"methods": []}, "methods: must name at least one"),
        ({"methods": ["get"]}, "methods.0: 'get' must be a method in capital letters: \"GET\""),
        (
            {"methods": ["PSOT"]},
            "methods.0: 'PSOT' must be a method that the gateway knows (it answers 501); did you mean 'POST'?",
        ),
        ({"methods": ["TRACE"]}, "methods.0: 'TRACE' is a method that no gateway passes on (it answers 405)"),
        ({"methods": ["G E"]}, "methods.0: 'G E' must be a method that the gateway knows"),
        ({"radio": 1}, "radio: must be a table, not an integer"),
        ({"prices": []}, "prices: must be a table, not an array"),
        ({"prices": {"base": "5"}}, "prices.base: must be an integer, not a string"),
        ({"timeout": 5}, 'timeout: 5 is not a duration like "15s", "500ms" or "2m"'),
        ({"timeout": 0.5}, "timeout: 0.5 is not a duration like"),
        ({"timeout": True}, "timeout: must be a string, not true or false"),
        ({"timeout": 1 << 20_000}, "timeout: is a number larger than TOML has"),
        ({"port": 1 << 20_000}, "port: is a number larger than TOML has"),
        ({"remark": 5}, "remark: must be a string, not an integer"),
        ({"a b": 1}, "'a b': unknown key"),
    ],
)
def test_a_wrong_table_is_refused_with_the_key_path(table, message):
    assert refused(table).startswith(message)


def test_a_wrong_free_key_is_refused():
    assert "must be a name of at most 40 small letters" in refused({"prices": {"Not A Name": 1}})
    assert refused({"prices": {"gateway": 1}}) == (
        "prices.gateway: 'gateway' is a name that micro itself uses; choose another"
    )
    assert "that micro itself uses" in refused({"prices": {"up": 1}}), (
        "its log is what a detached stack writes"
    )


def test_a_missing_key_is_told_when_the_table_is_built():
    with pytest.raises(ConfigurationError, match=r"x\.toml: name: is missing"):
        build(Car, {}, PLACE)


def test_a_table_is_built_with_defaults_and_what_the_code_gives():
    car = build(Car, {"name": "a"}, PLACE, label="given")
    assert (car.name, car.label, car.port, car.radio) == ("a", "given", 1, Radio(on=False))


def test_fields_that_code_fills_are_no_keys():
    assert "label" not in keys_of(Car)
    assert "name" in keys_of(Car)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("a", "name", "a"),
        ("80", "port", 80),
        (" 80 ", "port", 80),
        ("large", "kind", "large"),
        ("a, b,,", "tags", ("a", "b")),
        ("GET,PUT", "methods", frozenset({"GET", "PUT"})),
        ("2s", "timeout", 2.0),
    ],
)
def test_the_text_of_a_variable_is_read_as_its_key_wants(text, key, value):
    assert check_text(text, keys_of(Car)[key], PLACE) == value


@pytest.mark.parametrize("text", ["true", "TRUE", "yes", "on", "1"])
def test_words_for_yes_are_known(text):
    assert check_text(text, bool, PLACE) is True


@pytest.mark.parametrize("text", ["false", "no", "off", "0"])
def test_words_for_no_are_known(text):
    assert check_text(text, bool, PLACE) is False


@pytest.mark.parametrize(
    ("text", "hint"), [("maybe", bool), ("x", int), ("9" * 5000, int), ("-1", int), ("²", int)]
)
def test_a_text_that_is_not_what_the_key_wants_is_refused(text, hint):
    with pytest.raises(ConfigurationError, match="must be"):
        check_text(text, hint, PLACE)


def test_key_paths_are_quoted_and_cut_where_they_must():
    assert key_path(("services", "a b", "x" * 100)) == f"services.'a b'.'{'x' * 60}'"
