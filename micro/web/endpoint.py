"""One operation of an API: from a matched request to the handler's arguments, and from its result to a response."""

from __future__ import annotations

import inspect
from types import NoneType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_type_hints

from starlette.requests import Request
from starlette.responses import Response

from micro.errors import ConfigurationError
from micro.ids import is_id
from micro.web.auth import authenticate, resources_of
from micro.web.body import JsonBody
from micro.web.faults import is_struct
from micro.web.problems import Problem
from micro.web.query import Query
from micro.web.responses import JsonResponse
from micro.web.routing import decode_parameter, parameter_names
from micro.web.text import is_clean
from micro.web.types import Id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import Receive, Scope

Handle: TypeAlias = "Callable[..., Awaitable[Any]]"


class Endpoint:
    """One method of one path, with everything about its handler worked out beforehand."""

    __slots__ = (
        "auth",
        "body",
        "handler",
        "method",
        "parameters",
        "path",
        "problems",
        "query",
        "returns",
        "status",
    )

    def __init__(self, method: str, path: str, *, handler: Handle, status: int, max_body: int) -> None:
        self.method, self.path, self.handler, self.status = method, path, handler, status
        self.auth = True
        self.problems: Sequence[int] = ()
        hints = _hints(handler)
        self.returns = _payload(hints.pop("return", None))
        self.body = _body(hints.pop("body", None), max_body)
        self.query = _query(hints.pop("query", None))
        self.parameters = tuple((name, hints.get(name) is Id) for name in parameter_names(path))
        self._check(hints)

    async def __call__(self, scope: Scope, receive: Receive, raw: tuple[bytes, ...]) -> Response:
        """Handle one request whose raw path parameters are `raw`.

        Raises `Problem` (401, then 404, 422, then what the body gets), `ClientDisconnect`, and what the handler raises.
        """
        if self.auth:
            identity = await authenticate(scope["headers"], resources_of(scope).verifier)
            scope["state"]["identity"] = identity
        arguments = self._path_arguments(raw) if raw else {}
        if self.query is not None:
            arguments["query"] = self.query.read(scope["query_string"])
        if self.body is not None:
            arguments["body"] = await self.body.read(scope, receive)
        result = await self.handler(Request(scope, receive), **arguments)
        if isinstance(result, Response):
            return result
        if result is None:
            return Response(status_code=204)
        return JsonResponse(result, self.status)

    def _path_arguments(self, raw: tuple[bytes, ...]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for (name, id_only), element in zip(self.parameters, raw, strict=True):
            try:
                text = decode_parameter(element)
            except UnicodeDecodeError:
                raise Problem(404) from None
            if not (is_id(text) if id_only else is_clean(text)):
                raise Problem(404)
            arguments[name] = text
        return arguments

    def _check(self, hints: dict[str, Any]) -> None:
        where = f"{self.method} {self.path}"
        if not inspect.iscoroutinefunction(self.handler):
            raise ConfigurationError(f"{where}: the handler must be an async function")
        names = [name for name, _ in self.parameters]
        if sorted(names) != sorted(hints):
            raise ConfigurationError(
                f"{where}: the path has {names}, the handler takes {list(hints)} besides request, body and query"
            )
        for name, hint in hints.items():
            if hint not in {str, Id}:
                raise ConfigurationError(f"{where}: the path parameter {name} must be str or Id")


def _hints(handler: Handle) -> dict[str, Any]:
    """The resolved annotations of all but the first parameter, which is the request."""
    names = [*inspect.signature(handler).parameters][1:]
    annotations = inspect.get_annotations(handler)
    wanted = {name: annotations.get(name, str) for name in (*names, "return")}
    try:
        return get_type_hints(
            SimpleNamespace(__annotations__=wanted),
            globalns=handler.__globals__,
            include_extras=True,
        )
    except NameError as error:
        raise ConfigurationError(
            f"{handler.__qualname__}: its annotations are read at run time, so import {error.name} outside of TYPE_CHECKING"
        ) from error


def _payload(returns: Any) -> Any:
    """What of a return annotation is a JSON body: `TaskView` of `TaskView | Response`."""
    choices = [
        choice
        for choice in get_args(returns) or (returns,)
        if choice not in {None, NoneType, str}
        and not (inspect.isclass(choice) and issubclass(choice, Response))
    ]
    return returns if is_struct(returns) else (choices[0] if choices and is_struct(choices[0]) else None)


def _body(hint: Any, max_body: int) -> JsonBody[Any] | None:
    if hint is None:
        return None
    choices = [choice for choice in get_args(hint) if choice is not NoneType]
    optional = len(choices) == 1 and NoneType in get_args(hint)
    return JsonBody(choices[0] if optional else hint, limit=max_body, optional=optional)


def _query(hint: Any) -> Query[Any] | None:
    if hint is None:
        return None
    if not is_struct(hint):
        raise ConfigurationError(f"query: {hint} must be a msgspec.Struct")
    return Query(hint)
