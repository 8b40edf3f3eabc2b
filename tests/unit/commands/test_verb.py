"""A verb as a frozen record: what it takes, and what Typer makes of it."""

from __future__ import annotations

import dataclasses

import pytest
import typer

from micro.commands import verb
from micro.commands.values import http_method, json_value, port_number, whole_number
from micro.commands.verb import DataVerb, Verb, add, argument, arguments, flag, flat, option, options
from micro.errors import UsageError


@verb.verb
class Sample(DataVerb):
    """Try it.

    Example: micro sample x
    """

    first: str = argument("FIRST", help="The first.")
    number: int | None = argument("NUMBER", help="The second.", optional=True, parse=int)
    rest: tuple[str, ...] = arguments("REST", help="The others.")
    tags: tuple[str, ...] = options("--tag", metavar="TAG", help="Some tags.")
    limit: int = option("--limit", "-n", metavar="N", help="How many.", default="50", parse=int)
    reload: bool | None = flag("--reload/--no-reload", help="Whether.", default=None)

    def run(self, console):
        console.append(self)
        return 5


def call(*given: str):
    app = flat()
    add(app, "sample", Sample)
    seen: list[Sample] = []
    code = typer.main.get_command(app).main(list(given), prog_name="micro", standalone_mode=False, obj=seen)
    assert code == 5
    return seen[0]


def test_what_was_typed_becomes_the_record_s_values():
    made = call(
        "x", "7", "a", "b", "--tag", "t", "--tag", "u", "-n", "3", "--no-reload", "--json", "-C", "/somewhere"
    )
    assert dataclasses.asdict(made) == {
        "directory": "/somewhere",
        "profile": None,
        "dev": False,
        "prod": False,
        "json": True,
        "first": "x",
        "number": 7,
        "rest": ("a", "b"),
        "tags": ("t", "u"),
        "limit": 3,
        "reload": False,
    }


def test_what_was_not_typed_has_its_default():
    made = call("x")
    assert (made.number, made.rest, made.tags, made.limit, made.reload, made.directory) == (
        None,
        (),
        (),
        50,
        None,
        ".",
    )


def test_a_record_can_not_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        call("x").limit = 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["x", "seven"], r"NUMBER 'seven': invalid"),
        (["x", "-n", "many"], r"--limit 'many': invalid"),
        (["x", "9" * 200 + "x"], r"^NUMBER '9{59}: invalid"),
    ],
)
def test_a_value_that_can_not_be_read_is_named_and_cut_short(given, said):
    with pytest.raises(UsageError, match=said):
        call(*given)


def test_a_verb_that_does_nothing_is_no_verb():
    with pytest.raises(NotImplementedError):
        Verb().run(None)


def test_two_profiles_are_one_too_many(tmp_path):
    with pytest.raises(UsageError, match="one profile at a time"):
        Verb(directory=str(tmp_path), dev=True, profile="prod").session()
    assert Verb(directory=str(tmp_path), prod=True).session().chosen == "prod"


def test_typer_s_own_coercion_still_has_the_seam_that_keeps_pydantic_out():
    """When this fails, Typer changed: values must stay text without it, and `get_params` look for the new seam."""
    from typer.core import TyperOption

    assert hasattr(TyperOption, "get_runtime_param")


@pytest.mark.parametrize("text", ["-1", "1.5", "", "x", "1" * 12, "²"])
def test_a_number_of_things_is_whole_and_not_negative(text):
    with pytest.raises(ValueError, match="whole number"):
        whole_number(text)


def test_ports_end_at_65535():
    assert (port_number("0"), port_number("65535")) == (0, 65535)
    with pytest.raises(ValueError, match="65535"):
        port_number("65536")


def test_a_method_is_written_in_capitals():
    assert http_method("get") == "GET"
    with pytest.raises(ValueError, match="GET or POST"):
        http_method("GE T")


def test_json_may_be_any_value():
    assert json_value('[1, "x", null]') == [1, "x", None]
