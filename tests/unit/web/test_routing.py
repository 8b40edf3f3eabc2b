"""Templates against raw paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.errors import ConfigurationError
from micro.web.routing import Routes, decode_parameter, parameter_names


@pytest.fixture
def routes():
    made = Routes()
    made.add("GET", "/tasks", "list")
    made.add("POST", "/tasks", "create")
    made.add("GET", "/tasks/{id}", "read")
    made.add("POST", "/tasks/{id}/complete", "complete")
    made.add("GET", "/tasks/today", "today")
    made.add("GET", "/users/{id}/tasks/{task}", "both")
    made.add("GET", "/", "root")
    return made


@pytest.mark.parametrize(
    ("path", "targets", "parameters"),
    [
        (b"/tasks", {"GET": "list", "POST": "create"}, ()),
        (b"/tasks/7", {"GET": "read"}, (b"7",)),
        (b"/tasks/7/complete", {"POST": "complete"}, (b"7",)),
        (b"/tasks/today", {"GET": "today"}, ()),
        (b"/users/1/tasks/2", {"GET": "both"}, (b"1", b"2")),
        (b"/", {"GET": "root"}, ()),
    ],
)
def test_a_path_finds_its_targets(routes, path, targets, parameters):
    """With the raw parameters in the order of the template."""
    assert routes.match(path) == (targets, parameters)


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"tasks",
        b"/tasks/",
        b"//tasks",
        b"/tasks//complete",
        b"/tasks/7/",
        b"/tasks/7/complete/",
        b"/tasks/7/reopen",
        b"/Tasks",
        b"/%74asks",
        b"/tasks/7%2Fcomplete/x",
        b"/users/1/tasks/",
        b"/tasks/../tasks/7/x",
        b"*",
    ],
)
def test_nothing_else_matches(routes, path):
    """No redirect, no guess, no decoding before the match: a rule for one path can't be passed by under another name."""
    assert routes.match(path) is None


def test_an_encoded_slash_stays_in_its_element(routes):
    """It is part of the parameter, not a separator."""
    assert routes.match(b"/tasks/a%2Fb") == ({"GET": "read"}, (b"a%2Fb",))


def test_a_parameter_is_tried_where_the_fixed_element_leads_nowhere(routes):
    """`/tasks/today/complete` is the task called today."""
    assert routes.match(b"/tasks/today/complete") == ({"POST": "complete"}, (b"today",))


def test_the_same_operation_twice_is_refused(routes):
    """At declaration, naming it. The names of parameters don't make another path."""
    with pytest.raises(ConfigurationError, match=r"GET /tasks/\{task\} is declared twice"):
        routes.add("GET", "/tasks/{task}", "again")


@pytest.mark.parametrize(
    "template", ["tasks", "", "/tasks/{id", "/tasks/id}", "/tasks/a{id}", "/{}", "/{a-b}", "/{a}{b}"]
)
def test_a_malformed_template_is_refused(template):
    """At declaration."""
    with pytest.raises(ConfigurationError):
        Routes().add("GET", template, "x")


def test_parameter_names_are_in_order():
    """As they stand in the path."""
    assert parameter_names("/a/{b}/c/{d}") == ["b", "d"]
    assert parameter_names("/a") == []


def test_parameters_are_decoded_after_the_match():
    """Percent-encoding of UTF-8."""
    assert decode_parameter(b"a%20b%C3%BC") == "a bü"
    assert decode_parameter(b"plain") == "plain"
    assert decode_parameter(b"a%2Fb") == "a/b"


@pytest.mark.parametrize("raw", [b"%FF", b"\xff", b"%C3", b"%ED%A0%80"])
def test_a_parameter_that_is_not_utf8_is_an_error(raw):
    """Which becomes 404."""
    with pytest.raises(UnicodeDecodeError):
        decode_parameter(raw)


@given(st.lists(st.binary(max_size=5).filter(lambda part: b"/" not in part), max_size=6))
def test_any_path_matches_at_most_what_its_elements_say(elements):
    """A match has as many elements as the template, and the fixed ones are equal."""
    routes = Routes()
    routes.add("GET", "/a/{b}/c", "x")
    path = b"/" + b"/".join(elements)
    expected = len(elements) == 3 and elements[0] == b"a" and elements[2] == b"c" and elements[1] != b""
    assert (routes.match(path) is not None) == expected
