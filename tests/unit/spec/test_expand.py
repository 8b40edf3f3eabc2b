"""References to variables and secret files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.errors import ConfigurationError
from micro.spec.expand import expand
from micro.spec.validate import Place

PLACE = Place("micro.toml", ("profiles", "prod", "store"))
ENVIRON = {"USER_NAME": "me", "EMPTY": "", "NESTED": "${USER_NAME}"}


def expanded(text, root=Path("/nowhere")):
    return expand(text, ENVIRON, root, PLACE)


def refused(text, root=Path("/nowhere")):
    with pytest.raises(ConfigurationError) as caught:
        expanded(text, root)
    assert str(caught.value).startswith("micro.toml: profiles.prod.store: ")
    return str(caught.value).removeprefix("micro.toml: profiles.prod.store: ")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("a://${USER_NAME}@b", "a://me@b"),
        ("${USER_NAME}${USER_NAME}", "meme"),
        ("${NONE:-else}", "else"),
        ("${NONE:-}", ""),
        ("${NONE:-a:-b}", "a:-b"),
        ("${EMPTY:-else}", "else"),
        ("${EMPTY}", ""),
        ("${USER_NAME:-else}", "me"),
        ("$${USER_NAME}", "${USER_NAME}"),
        ("$USER_NAME and $5", "$USER_NAME and $5"),
        ("{service}", "{service}"),
        ("${NONE:-sqlite:{service}.db}", "sqlite:{service}.db"),
        ("${NONE:-${USER_NAME}}!", "me!"),
        ("${NONE:-a${NONE:-b}c}", "abc"),
        ("${NONE:-$${USER_NAME}}", "${USER_NAME}"),
    ],
)
def test_references_are_replaced(text, result):
    assert expanded(text) == result


def test_what_a_variable_holds_is_not_expanded_again():
    assert expanded("${NESTED}") == "${USER_NAME}"


def test_an_unset_variable_is_refused_with_the_nearest():
    assert refused("${USERNAME}") == "the variable USERNAME is not set; did you mean USER_NAME?"
    assert refused("${QQ}") == "the variable QQ is not set"


@pytest.mark.parametrize("text", ["${}", "${1ST}", "${A B}", "${A-b}"])
def test_a_malformed_reference_is_refused(text):
    assert "is not a reference; there is ${VAR}, ${VAR:-default} and ${file:/path}" in refused(text)


def test_a_reference_without_its_brace_is_refused():
    assert refused("x ${USER_NAME") == "'${USER_NAME' is not closed, or holds braces in braces"
    assert refused("${A:-${B:-${C}}}") == "'${A:-${B:-${C}}}' is not closed, or holds braces in braces"
    assert "is not closed" in refused("${A:-" * 10_000)


def test_a_secret_file_is_read_without_its_last_line_end(tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "dos").write_text("a\nb\r\n", newline="")
    assert expanded(f"${{file:{tmp_path}/secret}}") == "hunter2"
    assert expanded("${file:secret}", tmp_path) == "hunter2"
    assert expanded("${file:dos}", tmp_path) == "a\nb"


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    assert (
        refused("${file:none}", tmp_path)
        == f"the file {tmp_path}/none can't be read: No such file or directory"
    )
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert (
        refused("${file:bytes}", tmp_path) == f"the file {tmp_path}/bytes can't be read: it is not UTF-8 text"
    )
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    assert refused("${file:large}", tmp_path) == f"the file {tmp_path}/large is larger than 64 KiB"
    assert "can't be read" in refused("${file:a\0b}", tmp_path)


@given(st.text(alphabet="$ {}:-aAfile/\0é", max_size=40))
def test_any_text_is_expanded_or_refused(text):
    with suppress(ConfigurationError):
        assert isinstance(expanded(text), str)


@given(st.text().filter(lambda text: "${" not in text))
def test_a_text_without_references_stays_as_it_is(text):
    assert expanded(text) == text
