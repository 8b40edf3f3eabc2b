"""The form of a path: RFC 3986, and what no two readers may understand differently."""

# ruff: noqa: N802 - tests are named after the rules

from __future__ import annotations

import posixpath
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.gateway.paths import MalformedPath, decoded, form_of

SEGMENTS = st.binary(min_size=1, max_size=8).map(lambda raw: quote_from_bytes(raw, safe="").encode())
PATHS = st.lists(SEGMENTS, max_size=5).map(lambda parts: b"/" + b"/".join(parts))
ANYTHING = st.binary(max_size=30).map(lambda raw: b"/" + raw)


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/tasks",
        b"/tasks/",
        b"//tasks",
        b"/tasks//1",
        b"/a/b;v=1",
        b"/a/@me/!$&'()*+,;=:",
        b"/auth/jwks.json",
        b"/.well-known/x",
        b"/a/...",
        b"/a/..b",
        b"/a/b..",
        b"/a/.%2fb".replace(b"%2f", b"b"),
        b"/a%2fb",
        b"/a%2Fb",
        b"/a%25b",
        b"/a%00b",
        b"/%E4%B8%AD",
        b"/a|b",
        b"/{id}",
        b"/a[0]",
    ],
)
def test_an_ordinary_path_is_its_own_form(path):
    assert form_of(path) == path


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (b"/%7Eann", b"/~ann"),
        (b"/%61dmin", b"/admin"),
        (b"/%41%5a", b"/AZ"),
        (b"/a%2db%5Fc", b"/a-b_c"),
        (b"/file%2ejson", b"/file.json"),
        (b"/%61%2f%62", b"/a%2fb"),
    ],
)
def test_needlessly_encoded_characters_are_decoded(path, form):
    assert form_of(path) == form


@pytest.mark.parametrize(
    "path",
    [
        b"/.",
        b"/..",
        b"/./a",
        b"/../a",
        b"/a/..",
        b"/a/../b",
        b"/a/./b",
        b"/%2e",
        b"/%2E%2e/a",
        b"/.%2e/a",
        b"/%2e./a",
        b"/a/%2e%2e",
        b"/a%2f..%2fb",
        b"/a%2F%2e%2e",
        b"/a/..%2fb",
        b"/a%5c..%5cb",
        b"/a/..;/b",
        b"/a/..;v=1/b",
        b"/a/%2e%2e%3b/b",
        b"/.;x",
    ],
)
def test_P3_a_dot_segment_is_refused_however_it_is_written(path):
    with pytest.raises(MalformedPath, match="dot segment"):
        form_of(path)


@pytest.mark.parametrize("path", [b"/%", b"/%2", b"/%zz", b"/a%4", b"/%u0041", b"/%%41"])
def test_a_malformed_percent_encoding_is_refused(path):
    with pytest.raises(MalformedPath, match="percent-encoding"):
        form_of(path)


@pytest.mark.parametrize("byte", [0, 9, 10, 13, 32, 35, 63, 92, 127, 128, 255])
def test_a_byte_that_no_path_has_on_the_wire_is_refused(byte):
    with pytest.raises(MalformedPath, match="percent-encoded"):
        form_of(b"/a" + bytes([byte]) + b"b")


@given(PATHS)
def test_the_form_means_the_same_as_the_path(path):
    try:
        form = form_of(path)
    except MalformedPath:
        return
    assert unquote_to_bytes(form) == unquote_to_bytes(path)
    assert form.count(b"/") == path.count(b"/")


@given(PATHS)
def test_the_form_of_a_form_is_itself(path):
    try:
        form = form_of(path)
    except MalformedPath:
        return
    assert form_of(form) == form


@given(ANYTHING)
def test_what_passes_has_no_dot_segment_for_anyone_who_decodes_it(path):
    """A reader who decodes everything, and one who takes backslashes for slashes, resolve nothing away."""
    try:
        form_of(path)
    except MalformedPath:
        return
    seen = decoded(path).replace(b"\\", b"/")
    resolved = posixpath.normpath(seen)
    assert not {b".", b".."} & set(seen.split(b"/"))
    assert len(resolved) <= len(seen) or seen == b"//"


@given(st.text(alphabet="abcXYZ019-._~", min_size=1, max_size=6).filter(lambda text: text.strip(".")))
def test_encoding_unreserved_characters_changes_no_form(text):
    encoded = "".join(f"%{ord(char):02X}" for char in text)
    assert form_of(b"/" + encoded.encode()) == form_of(b"/" + text.encode())


def test_decoding_is_done_once():
    assert decoded(b"/a%2fb%2525") == b"/a/b%25"
