"""OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1) from the declared operations and their structs."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from micro.web.problems import MEDIA_TYPE, phrase

if TYPE_CHECKING:
    from micro.web.api import Api
    from micro.web.endpoint import Endpoint

_REF = "#/components/schemas/{name}"
_ID = {"type": "string", "format": "uuid"}
_BEARER = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class Fault(Struct):
    """One thing that is wrong with a request."""

    pointer: str
    detail: str


class ProblemBody(Struct):
    """An error, as RFC 9457 describes it."""

    type: str
    title: str
    status: int
    detail: str | UnsetType = UNSET
    errors: list[Fault] | UnsetType = UNSET
    request_id: str | UnsetType = UNSET


def openapi_document(api: Api) -> dict[str, Any]:
    """The whole document. Every operation lists the problems that follow from its declaration, and its own."""
    schemas = _Schemas(api.endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in api.endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, api.name, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": api.name,
            "version": api.version,
            **({"description": api.description} if api.description else {}),
        },
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": {"bearer": _BEARER}},
    }


class _Schemas:
    """The schema of every struct that the operations name."""

    def __init__(self, endpoints: list[Endpoint]) -> None:
        types = [ProblemBody]
        for endpoint in endpoints:
            types += [part for part in (endpoint.returns, _type_of(endpoint.body)) if part is not None]
        self._types = types
        self._references, self.components = msgspec.json.schema_components(types, ref_template=_REF)

    def of(self, type: Any) -> dict[str, Any]:
        """A reference to the schema of a type that an operation names."""
        return self._references[self._types.index(type)]

    def problem(self, status: int) -> dict[str, Any]:
        """The response object of a problem."""
        example = {"type": "about:blank", "title": phrase(status), "status": status}
        content = {MEDIA_TYPE: {"schema": self.of(ProblemBody), "example": example}}
        return {"description": phrase(status), "content": content}


def _operation(endpoint: Endpoint, tag: str, schemas: _Schemas) -> dict[str, Any]:
    text = inspect.getdoc(endpoint.handler) or endpoint.handler.__name__.replace("_", " ").capitalize()
    summary, _, description = text.partition("\n")
    operation: dict[str, Any] = {
        "operationId": f"{tag}_{endpoint.handler.__name__}",
        "tags": [tag],
        "summary": summary.rstrip("."),
        "responses": {str(endpoint.status): _success(endpoint, schemas)}
        | {str(status): schemas.problem(status) for status in _problems(endpoint)},
    }
    if description.strip():
        operation["description"] = description.strip()
    parameters = _path_parameters(endpoint) + _query_parameters(endpoint)
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": not endpoint.body.optional,
            "content": {"application/json": {"schema": schemas.of(endpoint.body.type)}},
        }
    if endpoint.auth:
        operation["security"] = [{"bearer": []}]
    return operation


def _success(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    response: dict[str, Any] = {"description": phrase(endpoint.status)}
    if endpoint.returns is not None:
        response["content"] = {"application/json": {"schema": schemas.of(endpoint.returns)}}
    return response


def _problems(endpoint: Endpoint) -> list[int]:
    statuses = {*endpoint.problems, 500}
    if endpoint.auth:
        statuses.add(401)
    if endpoint.parameters:
        statuses.add(404)
    if endpoint.query is not None:
        statuses.add(422)
    if endpoint.body is not None:
        statuses |= {400, 413, 415, 422}
    return sorted(statuses)


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _ID if is_id else {"type": "string"}}
        for name, is_id in endpoint.parameters
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    schema = msgspec.json.schema(endpoint.query.type, ref_template=_REF)
    body = schema["$defs"][schema["$ref"].rpartition("/")[2]] if "$defs" in schema else schema
    required = set(body.get("required", ()))
    return [
        {"name": name, "in": "query", "required": name in required, "schema": property}
        for name, property in body.get("properties", {}).items()
    ]


def _type_of(body: Any) -> Any:
    return None if body is None else body.type
