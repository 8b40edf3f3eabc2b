"""Secrets are taken out of texts and tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.redact import is_secret, redact_mapping, redact_text, redact_value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:hunter2@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me:p@ss@db/x", "postgresql://me:***@db/x"),
        ("redis://:hunter2@cache:6379/0", "redis://:***@cache:6379/0"),
        ("Authorization: Bearer abc.def.ghi", "Authorization: ***"),
        ("authorization=Basic dXNlcjpwYXNz", "authorization=***"),
        ("sent Bearer abcdefgh", "sent Bearer ***"),
        ("token eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1In0.c2ln here", "token *** here"),
        ('{"password": "hunter2", "name": "Ada"}', '{"password": "***", "name": "Ada"}'),
        ("password=hunter2&next=/", "password=***&next=/"),
        ("refresh_token: abc", "refresh_token: ***"),
        ("API_KEY=abc", "API_KEY=***"),
        ("client_secret = 'abc'", "client_secret = '***'"),
    ],
)
def test_a_secret_inside_a_text_is_hidden(text, shown):
    assert redact_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/users?x=1",
        "postgresql://me@db/x",
        "see https://example.org/a:b@c",
        "GET /tasks 200",
        "the token expired",
        "kafka://broker:9092",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(text):
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PGPASSWORD",
        "api_token",
        "STRIPE_KEY",
        "client-secret",
        "Authorization",
        "Set-Cookie",
        "db_pwd",
    ],
)
def test_a_name_of_a_secret_is_known(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["port", "store", "name", "key_id", "public_key", "keywords", "Idempotency_Key", "user"]
)
def test_other_names_are_not_secrets(name):
    assert not is_secret(name)


def test_a_value_is_hidden_by_its_name_and_cleaned_by_its_text():
    assert redact_value("api_key", "abc") == "***"
    assert redact_value("api_key", None) is None
    assert redact_value("store", "postgresql://a:b@c/d") == "postgresql://a:***@c/d"
    assert redact_value("port", 8000) == 8000


def test_tables_inside_tables_are_cleaned():
    found = redact_mapping({"a": {"password": "x", "list": [{"token": "y"}, "u://a:b@c"]}, "n": 1})
    assert found == {"a": {"password": "***", "list": [{"token": "***"}, "u://a:***@c"]}, "n": 1}


def test_a_table_that_holds_itself_ends():
    table = {}
    table["again"] = table
    assert "***" in str(redact_mapping(table))


@given(st.text())
def test_hiding_twice_hides_no_more(text):
    once = redact_text(text)
    assert redact_text(once) == once


@given(st.from_regex(r"[A-Za-z0-9]{8,20}", fullmatch=True))
def test_no_password_of_a_url_is_left(password):
    assert password not in redact_text(f"postgresql://user:{password}@host:5432/db?x=1")
