"""Problem bodies, and the table from exceptions to statuses."""

from __future__ import annotations

import logging

import msgspec
import pytest
from starlette.exceptions import HTTPException

from micro.context import Context, current
from micro.errors import (
    BusUnavailable,
    CallError,
    ConstraintViolation,
    EventTooLarge,
    StoreError,
    StoreUnavailable,
    TokenError,
    TransactionTimeout,
    UniqueViolation,
)
from micro.web.problems import (
    MEDIA_TYPE,
    Problem,
    invalid,
    phrase,
    problem_response,
    to_problem,
    unauthorized,
)


def body_of(problem, request_id=None):
    return msgspec.json.decode(problem_response(problem, request_id).body)


def test_a_problem_body_has_the_members_of_rfc_9457():
    """Type, title and status are always there; the status member equals the real status."""
    response = problem_response(Problem(404))
    assert response.status_code == 404
    assert response.headers["content-type"] == MEDIA_TYPE
    assert body_of(Problem(404)) == {"type": "about:blank", "title": "Not Found", "status": 404}


def test_detail_errors_and_extensions_are_members():
    """What the raiser knows reaches the client."""
    problem = Problem(422, detail="No.", errors=[{"pointer": "/a", "detail": "Bad."}], limit=3)
    body = body_of(problem)
    assert body["detail"] == "No."
    assert body["errors"] == [{"pointer": "/a", "detail": "Bad."}]
    assert body["limit"] == 3


def test_a_title_may_be_given():
    """And it stands in the place of the phrase."""
    assert body_of(Problem(409, "Category in use"))["title"] == "Category in use"


def test_the_request_id_comes_from_the_context():
    """So that a person can name the request that failed."""
    token = current.set(Context("c", "r-1", "00-1-1-00", "r-1"))
    try:
        assert body_of(Problem(500))["request_id"] == "r-1"
    finally:
        current.reset(token)


def test_a_given_request_id_wins_over_the_context():
    """The gateway knows it without a context."""
    assert body_of(Problem(500), "r-2")["request_id"] == "r-2"


def test_without_a_request_there_is_no_request_id():
    """The member is absent, not null."""
    assert "request_id" not in body_of(Problem(500))


def test_headers_of_a_problem_are_sent():
    """Allow, Retry-After and the like."""
    assert problem_response(Problem(405, headers={"Allow": "GET"})).headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(413, "Content Too Large"), (422, "Unprocessable Content"), (404, "Not Found"), (599, "599")],
)
def test_phrases_are_those_of_rfc_9110_on_every_python(status, expected):
    """Python's own names changed in 3.13."""
    assert phrase(status) == expected


def test_the_text_of_a_problem_says_status_and_detail():
    """For logs and for tests that fail."""
    assert str(Problem(409, detail="Taken.")) == "409 Conflict: Taken."
    assert str(Problem(404)) == "404 Not Found"


def test_invalid_is_a_422_with_one_pointer():
    """The short form for one fault."""
    problem = invalid("/name", "Not blank.")
    assert problem.status == 422
    assert problem.errors == ({"pointer": "/name", "detail": "Not blank."},)


def test_a_missing_token_is_challenged_without_an_error_code():
    """RFC 6750 section 3.1: no error code where no authentication was attempted."""
    assert unauthorized().headers["WWW-Authenticate"] == "Bearer"


def test_a_bad_token_is_challenged_with_invalid_token():
    """RFC 6750 section 3.1."""
    problem = unauthorized("The token has expired.")
    assert problem.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert problem.detail == "The token has expired."


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UniqueViolation("users.email"), 409),
        (ConstraintViolation("tasks.category"), 409),
        (StoreUnavailable("locked"), 503),
        (TransactionTimeout("30 s"), 503),
        (BusUnavailable("gone"), 503),
        (EventTooLarge("2 MB"), 413),
        (CallError("user: refused"), 502),
        (TokenError("expired"), 401),
    ],
)
def test_micros_own_errors_have_their_statuses(error, status):
    """One table, looked up along the MRO."""
    assert to_problem(error).status == status


@pytest.mark.parametrize(
    "error", [UniqueViolation("table users_email_key"), StoreUnavailable("host db-7 port 5432")]
)
def test_a_drivers_message_never_reaches_the_client(error):
    """It names tables, columns and hosts."""
    assert str(error) not in (to_problem(error).detail or "")


def test_what_may_work_later_says_when():
    """Retry-After with each 503."""
    assert to_problem(StoreUnavailable("locked")).headers == {"Retry-After": "1"}


def test_a_subclass_is_found_by_its_base():
    """An author's own error below ours needs no entry."""

    class Mine(UniqueViolation):
        pass

    assert to_problem(Mine("x")).status == 409


def test_an_unlisted_base_is_a_500():
    """`StoreError` alone says nothing that a client could act on."""
    assert to_problem(StoreError("disk")).status == 500


def test_an_unexpected_error_is_a_500_without_details_and_logged_with_its_traceback(caplog):
    """The client learns nothing, the log everything."""
    with caplog.at_level(logging.ERROR):
        problem = to_problem(ZeroDivisionError("secret"))
    assert (problem.status, problem.detail) == (500, None)
    assert caplog.records[0].exc_info[1].args == ("secret",)


def test_a_server_error_from_the_table_is_logged(caplog):
    """Somebody has to see that the database was gone."""
    with caplog.at_level(logging.WARNING):
        to_problem(StoreUnavailable("locked by 42"))
    assert "locked by 42" in caplog.text


def test_a_client_error_from_the_table_is_not_logged(caplog):
    """A taken e-mail is nobody's alarm."""
    with caplog.at_level(logging.DEBUG):
        to_problem(UniqueViolation("x"))
    assert not caplog.records


def test_a_problem_stays_as_it_is():
    """Raised by a handler, it needs no translation."""
    problem = Problem(418)
    assert to_problem(problem) is problem


def test_starlettes_http_exception_is_translated():
    """With its headers; a detail that only repeats the phrase is left out."""
    problem = to_problem(HTTPException(404, headers={"X-A": "b"}))
    assert (problem.status, problem.detail, problem.headers) == (404, None, {"X-A": "b"})
    assert to_problem(HTTPException(400, "No such colour.")).detail == "No such colour."


class Denied(Exception):
    """A domain's own error."""


class DeniedTwice(Denied):
    """One below it."""


def test_a_services_own_errors_take_their_text_as_the_detail():
    """The domain speaks to people."""
    problem = to_problem(Denied("This is somebody else's."), {Denied: 403})
    assert (problem.status, problem.detail) == (403, "This is somebody else's.")


def test_a_services_own_errors_are_looked_up_along_the_mro():
    """One entry for a family."""
    assert to_problem(DeniedTwice(), {Denied: 403}).status == 403


def test_an_own_error_without_text_has_no_detail():
    """Rather than an empty one."""
    assert to_problem(Denied(), {Denied: 403}).detail is None


def test_an_own_401_is_challenged():
    """RFC 9110 section 15.5.2: a 401 must carry WWW-Authenticate."""
    assert "WWW-Authenticate" in to_problem(Denied("no"), {Denied: 401}).headers
    assert "WWW-Authenticate" in to_problem(Denied(), {Denied: 401}).headers


def test_an_own_503_says_when_to_try_again():
    """As ours do."""
    assert to_problem(Denied(), {Denied: 503}).headers == {"Retry-After": "1"}


def test_own_entries_win_over_the_common_table():
    """A service may know better what a unique violation means."""
    assert to_problem(UniqueViolation("x"), {UniqueViolation: 422}).status == 422
