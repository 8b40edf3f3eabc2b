"""The nearest right name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from micro.suggest import did_you_mean, nearest


def test_the_name_most_alike_is_suggested():
    assert did_you_mean("prot", ["port", "host"]) == "; did you mean 'port'?"


def test_without_one_alike_the_names_are_listed():
    assert did_you_mean("zzz", ["b", "a"]) == "; there is a, b"


def test_a_long_list_is_cut():
    names = [f"{chr(97 + number)}{chr(97 + number)}" for number in range(20)]
    assert did_you_mean("?", names).endswith("ll, …")


def test_with_nothing_to_choose_from_nothing_is_said():
    assert did_you_mean("x", []) == ""


def test_a_very_long_word_is_not_compared():
    assert nearest("port" * 100, ["port"]) is None


@given(st.text(), st.sets(st.text(min_size=1), max_size=5))
def test_a_suggestion_is_always_one_of_the_names(word, names):
    assert nearest(word, names) in {*names, None}
