"""Error answers: RFC 9457 problem bodies, and the one table from exceptions to statuses."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from micro.context import current
from micro.errors import (
    BusUnavailable,
    CallError,
    ConstraintViolation,
    EventTooLarge,
    StoreUnavailable,
    TokenError,
    TransactionTimeout,
    UniqueViolation,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# Python before 3.13 has the names of RFC 7231 and 4918.
_RENAMED = {413: "Content Too Large", 422: "Unprocessable Content"}
CHALLENGE = 'Bearer error="invalid_token"'


class Problem(Exception):
    """An error answer (https://www.rfc-editor.org/rfc/rfc9457): raise it anywhere below an `Api`.

    `title` is the status's own phrase unless given. `errors` are ``{"pointer": …, "detail": …}`` objects, the pointers
    by RFC 6901. `extensions` become members of the body.
    """

    def __init__(
        self,
        status: int,
        title: str | None = None,
        *,
        detail: str | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        self.status = status
        self.title = title or phrase(status)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extensions = extensions
        super().__init__(f"{status} {self.title}{': ' + detail if detail else ''}")


def phrase(status: int) -> str:
    """The reason phrase of a status code by RFC 9110, or the code itself where it has none."""
    if status in _RENAMED:
        return _RENAMED[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return str(status)


def invalid(pointer: str, detail: str) -> Problem:
    """422 with one fault."""
    return Problem(422, errors=({"pointer": pointer, "detail": detail},))


def unauthorized(detail: str | None = None) -> Problem:
    """401 with the challenge that RFC 6750 section 3 asks for; `detail` says what was wrong with the token given."""
    challenge = CHALLENGE if detail else "Bearer"
    return Problem(
        401, detail=detail or "A bearer token is required.", headers={"WWW-Authenticate": challenge}
    )


def problem_body(problem: Problem, request_id: str | None) -> bytes:
    """The body for a problem, as JSON."""
    body: dict[str, Any] = {"type": "about:blank", "title": problem.title, "status": problem.status}
    if problem.detail is not None:
        body["detail"] = problem.detail
    if problem.errors:
        body["errors"] = problem.errors
    body |= problem.extensions
    if request_id is not None:
        body["request_id"] = request_id
    return msgspec.json.encode(body)


def problem_response(problem: Problem, request_id: str | None = None) -> Response:
    """The response for a problem. Without `request_id`, the id of the request being handled is used."""
    if request_id is None:
        context = current.get()
        request_id = context.request_id if context else None
    body = problem_body(problem, request_id)
    return Response(body, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def _again(detail: str) -> Callable[[Exception], Problem]:
    return lambda _: Problem(503, detail=detail, headers={"Retry-After": "1"})


def _of_http_exception(error: Exception) -> Problem:
    assert isinstance(error, HTTPException)
    own = None if error.detail == phrase(error.status_code) else error.detail
    return Problem(error.status_code, detail=own, headers=error.headers)


# Drivers' messages stay in the log: they name tables and columns.
_TABLE: dict[type[BaseException], Callable[[Exception], Problem]] = {
    HTTPException: _of_http_exception,
    TokenError: lambda error: unauthorized(str(error)),
    UniqueViolation: lambda _: Problem(409, detail="This already exists."),
    ConstraintViolation: lambda _: Problem(409, detail="This contradicts what is stored."),
    StoreUnavailable: _again("The database is busy or out of reach."),
    TransactionTimeout: _again("The database took too long; nothing was changed."),
    BusUnavailable: _again("The event bus is out of reach."),
    EventTooLarge: lambda _: Problem(413, detail="What this would publish is too large."),
    CallError: lambda _: Problem(502, detail="A service that this one needs gave no answer."),
}


def _declared(status: int, text: str) -> Problem:
    if status == 401:
        return unauthorized(text or phrase(401))
    return Problem(status, detail=text or None, headers={"Retry-After": "1"} if status == 503 else None)


def to_problem(error: Exception, statuses: Mapping[type[Exception], int] | None = None) -> Problem:
    """The problem that stands for an exception, looked up along its class's MRO, `statuses` before the common table.

    An entry of `statuses` takes the exception's text as the detail; 401 and 503 get the fields that they need. What nobody knows becomes a 500 without details and
    is logged with its traceback; every other 5xx is logged too.
    """
    if isinstance(error, Problem):
        return error
    for cls in type(error).__mro__:
        if statuses and cls in statuses:
            return _declared(statuses[cls], str(error))
        if cls in _TABLE:
            problem = _TABLE[cls](error)
            if problem.status >= 500:
                logger.warning("%d: %s", problem.status, error)
            return problem
    logger.error("unexpected error", exc_info=error)
    return Problem(500)
