"""Every fault of a value, with its place."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

import msgspec
import pytest
from msgspec import Meta, Struct, field

from micro.web.faults import MAX_FAULTS, faults_of, is_struct, pointer_to, struct_class, unclean
from micro.web.types import Id, Timestamp

T = TypeVar("T")


class Line(Struct, forbid_unknown_fields=True):
    """An order's line."""

    sku: Annotated[str, Meta(pattern=r"^[A-Z]+$", description="Capital letters.")]
    count: Annotated[int, Meta(ge=1)] = 1


class Order(Struct):
    """An order."""

    lines: Annotated[list[Line], Meta(min_length=1, max_length=3)]
    kind: Literal["gift", "own"] = "own"
    notes: dict[str, str] | None = None
    tags: list[str] = field(default_factory=list)
    size: int | Line | None = None
    user_id: Id | None = None
    made: Timestamp | None = None
    code: Annotated[str, Meta(pattern="^x")] = "x"

    def __post_init__(self) -> None:
        if self.kind == "gift" and not self.tags:
            raise ValueError("a gift has a tag")


class Boxed(Struct, Generic[T]):
    """A generic struct."""

    item: T


class Cat(Struct, tag="cat"):
    """One of two."""

    name: str


class Dog(Struct, tag="dog"):
    """The other."""

    name: str


class Home(Struct):
    """With a tagged union."""

    pet: Cat | Dog


class Renamed(Struct, rename="camel"):
    """With other names on the wire."""

    first_name: str


def faults(value, type=Order, *, strict=True):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, type, strict=strict)
    return {
        fault["pointer"]: fault["detail"] for fault in faults_of(value, type, caught.value, strict=strict)
    }


def test_missing_members_are_named():
    """Each by the pointer where it should be."""
    assert faults({}) == {"/lines": "This is required."}


def test_faults_in_lists_have_their_index():
    """And every element is looked at."""
    found = faults({"lines": [{"sku": "A", "count": 0}, {"count": "2"}, {"sku": "a"}]})
    assert set(found) == {"/lines/0/count", "/lines/1/sku", "/lines/1/count", "/lines/2/sku"}


def test_unknown_members_are_told_where_they_are_forbidden():
    """And only there."""
    found = faults({"lines": [{"sku": "A", "colour": "red"}], "colour": "red"})
    assert found == {"/lines/0/colour": "There is no such member."}


def test_the_length_of_a_list_is_a_fault_of_the_list():
    """When its elements are fine."""
    assert set(faults({"lines": []})) == {"/lines"}
    assert set(faults({"lines": [{"sku": "A"}] * 4})) == {"/lines"}


def test_an_optional_container_is_looked_into():
    """Null is fine, a mapping with wrong values is not."""
    assert set(faults({"lines": [{"sku": "A"}], "notes": {"a": 1, "b": "x", "c": 2}})) == {
        "/notes/a",
        "/notes/c",
    }


def test_a_union_with_one_struct_is_looked_into():
    """So the fault is where it is, not at the whole."""
    assert set(faults({"lines": [{"sku": "A"}], "size": {"sku": 1}})) == {"/size/sku"}


def test_a_tagged_union_tells_its_first_fault():
    """With the place that msgspec gives."""
    assert set(faults({"pet": {"type": "cat", "name": 1}}, Home)) == {"/pet/name"}
    assert set(faults({"pet": {"type": "cow"}}, Home)) == {"/pet/type"}


def test_a_rule_of_the_whole_struct_is_a_fault_of_the_whole():
    """`__post_init__` speaks when the members are fine."""
    assert faults({"lines": [{"sku": "A"}], "kind": "gift"}) == {"": "a gift has a tag."}


def test_a_description_stands_in_for_a_regular_expression():
    """A pattern is no help to people."""
    assert faults({"lines": [{"sku": "a"}]}) == {"/lines/0/sku": "Expected: Capital letters."}


def test_a_pattern_without_a_description_is_still_not_shown():
    """There is a sentence for that."""
    found = faults({"lines": [{"sku": "A"}], "code": "y"})
    assert found == {"/code": "Expected: text of another form."}


def test_a_description_is_found_inside_an_optional():
    """`Id | None` says what an id is."""
    found = faults({"lines": [{"sku": "A"}], "user_id": "nope"})
    assert found == {"/user_id": "Expected: A UUID in lower case."}


@pytest.mark.parametrize(
    "text",
    [
        "019b7d3c-8a00-7c4e-9f3b-2d6a51c0e7f4\n",
        "019B7D3C-8A00-7C4E-9F3B-2D6A51C0E7F4",
        "019b7d3c8a007c4e9f3b2d6a51c0e7f4",
        "",
        "\u066019b7d3c-8a00-7c4e-9f3b-2d6a51c0e7f4",
    ],
)
def test_an_id_is_canonical(text):
    """Lower case, hyphens, ASCII digits, and no newline behind it."""
    assert set(faults({"lines": [{"sku": "A"}], "user_id": text})) == {"/user_id"}


def test_a_generic_struct_is_looked_into():
    """With its argument."""
    assert set(faults({"item": {"lines": [{"sku": "a"}]}}, Boxed[Order])) == {"/item/lines/0/sku"}


def test_names_are_those_on_the_wire():
    """Not Python's."""
    assert set(faults({}, Renamed)) == {"/firstName"}


def test_lax_conversion_is_searched_laxly():
    """Query parameters are text: a number in text is no fault."""

    class Query(Struct):
        limit: int
        page: int

    assert set(faults({"limit": "5", "page": "x"}, Query, strict=False)) == {"/page"}


def test_the_number_of_faults_is_bounded():
    """A hostile body gets no megabytes of answer."""
    assert len(faults({"lines": [{"sku": 1}] * 1_000})) == MAX_FAULTS
    many = {str(number): number for number in range(1_000)}
    assert len(faults({"lines": [{"sku": "A"}], "notes": many})) == MAX_FAULTS
    assert len(faults({"lines": [{"sku": "A", **dict.fromkeys(map(str, range(300)))}]})) == MAX_FAULTS


def test_a_fault_beyond_the_search_is_still_a_fault():
    """When the search gives up, msgspec's own first fault is told."""
    assert set(faults([0] * 20_000 + ["x"], list[int])) == {"/20000"}


def test_pointers_escape_slash_and_tilde():
    """RFC 6901 section 3, in the order that makes it reversible."""
    assert pointer_to("/a", "b/c~d") == "/a/b~1c~0d"
    assert pointer_to("", 3) == "/3"
    assert pointer_to("", "") == "/"


def test_unclean_text_is_found_at_every_level():
    """Names before what they hold."""
    value = {"a": ["ok", "\0"], "\ud800": {"b": "\udfff"}}
    assert [fault["pointer"] for fault in unclean(value)] == ["/\\ud800", "/a/1", "/\\ud800/b"]


def test_clean_text_has_no_places():
    """Also not in numbers and nulls."""
    assert unclean({"a": [1, None, True, "ü", "\U0001f600"]}) == ()


def test_the_number_of_unclean_places_is_bounded():
    """As with other faults."""
    assert len(unclean(["\0"] * 1_000)) == MAX_FAULTS


def test_generic_structs_are_structs():
    """With and without arguments; other generics aren't."""
    assert is_struct(Boxed[Order])
    assert is_struct(Order)
    assert not is_struct(list[Order])
    assert not is_struct(None)
    assert struct_class(Boxed[Order]) is Boxed
