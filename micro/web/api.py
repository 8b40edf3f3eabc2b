"""A small JSON API: handlers take what they declare and return structs; every error is a problem body.

    api = Api("task", version="1")

    @api.post("/tasks", status=201, problems=(409,))
    async def create(request: Request, body: TaskForm) -> TaskView: ...

    @api.get("/tasks/{id}", problems=(403,))
    async def read(request: Request, id: Id) -> TaskView: ...

`api.app` is the ASGI application. It also serves ``/openapi.json`` and ``/docs``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect

from micro.web.body import MAX_BODY
from micro.web.docs import DOCS, document_response
from micro.web.endpoint import Endpoint
from micro.web.lifespan import answer_lifespan
from micro.web.openapi import openapi_document
from micro.web.problems import Problem, problem_response, to_problem
from micro.web.responses import JsonResponse, WithoutBody
from micro.web.routing import Routes
from micro.web.types import Id, Timestamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Api", "Id", "JsonResponse", "Timestamp"]

H = TypeVar("H", bound="Callable[..., Awaitable[Any]]")


class Api:
    """The operations of one service.

    A handler is an async function whose first parameter is the Starlette `Request`. Its other parameters:

    - `body`, annotated with a `msgspec.Struct`: the JSON body (``Form | None`` makes it optional);
    - `query`, annotated with a struct: the query parameters;
    - the path's parameters: `str`, or `Id`, for which a malformed one is 404.

    It returns a struct (sent with the declared status), nothing (204) or a Starlette response (sent as it is), or raises
    a `Problem`. Domain exceptions become problems by `errors`, looked up along the MRO, the exception's text being the
    detail: ``Api("task", version="1", errors={NotAllowed: 403})``.

    Annotations are read at run time, so import what they name outside of ``if TYPE_CHECKING``.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str,
        description: str = "",
        errors: Mapping[type[Exception], int] | None = None,
        max_body: int = MAX_BODY,
    ) -> None:
        self.name = name
        self.version = version
        self.description = description
        self.endpoints: list[Endpoint] = []
        self._errors = dict(errors or {})
        self._max_body = max_body
        self._routes: Routes[Endpoint] = Routes()
        self._document: dict[str, Any] | None = None

    def get(
        self, path: str, *, status: int = 200, auth: bool = True, problems: Sequence[int] = ()
    ) -> Callable[[H], H]:
        """Declare a GET operation; it answers HEAD too.

        With `auth` a bearer token is required and `request.state.identity` says whose it is. `problems` are the error
        statuses to document, besides those that follow from the declaration.
        """
        return self._declare("GET", path, status=status, auth=auth, problems=problems)

    def post(
        self, path: str, *, status: int = 200, auth: bool = True, problems: Sequence[int] = ()
    ) -> Callable[[H], H]:
        """Declare a POST operation; see `get`."""
        return self._declare("POST", path, status=status, auth=auth, problems=problems)

    def put(
        self, path: str, *, status: int = 200, auth: bool = True, problems: Sequence[int] = ()
    ) -> Callable[[H], H]:
        """Declare a PUT operation; see `get`."""
        return self._declare("PUT", path, status=status, auth=auth, problems=problems)

    def delete(
        self, path: str, *, status: int = 200, auth: bool = True, problems: Sequence[int] = ()
    ) -> Callable[[H], H]:
        """Declare a DELETE operation; see `get`."""
        return self._declare("DELETE", path, status=status, auth=auth, problems=problems)

    def _declare(
        self, method: str, path: str, *, status: int, auth: bool, problems: Sequence[int]
    ) -> Callable[[H], H]:
        def register(handler: H) -> H:
            endpoint = Endpoint(method, path, handler=handler, status=status, max_body=self._max_body)
            endpoint.auth, endpoint.problems = auth, problems
            self._routes.add(method, path, endpoint)
            self.endpoints.append(endpoint)
            self._document = None
            return handler

        return register

    @property
    def app(self) -> ASGIApp:
        """The ASGI application: this object."""
        return self

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document, made once. Don't change it."""
        if self._document is None:
            self._document = openapi_document(self)
        return self._document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, the lifespan, or refuse a WebSocket."""
        if scope["type"] != "http":
            await answer_lifespan(scope, receive, send)
            return
        try:
            response = await self._respond(scope, receive)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 # the one place where exceptions become answers
            response = problem_response(to_problem(error, self._errors))
        if scope["method"] == "HEAD":
            send = WithoutBody(send).send
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        raw_path = scope.get("raw_path") or scope["path"].encode()
        found = self._routes.match(raw_path)
        if found is None:
            return self._own_page(scope)
        endpoints, parameters = found
        method = scope["method"]
        endpoint = endpoints.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            raise _not_allowed(endpoints)
        return await endpoint(scope, receive, parameters)

    def _own_page(self, scope: Scope) -> Response:
        path = scope["path"]
        if path != "/openapi.json" and path not in DOCS:
            raise Problem(404)
        if scope["method"] not in {"GET", "HEAD"}:
            raise _not_allowed(("GET",))
        return document_response(path, self.name, self.openapi)


def _not_allowed(methods: Sequence[str] | Mapping[str, Endpoint]) -> Problem:
    allowed = {*methods, "HEAD"} if "GET" in methods else {*methods}
    return Problem(405, headers={"Allow": ", ".join(sorted(allowed))})
