"""The OpenAPI document."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta, Struct
from starlette.requests import Request  # noqa: TC002 # handlers' annotations are read at run time
from starlette.responses import Response

from micro.web.api import Api, Id
from micro.web.pagination import Items, Page


class Form(Struct):
    """What to store."""

    title: Annotated[str, Meta(min_length=1, max_length=200, examples=["Milk"])]


class View(Struct):
    """What is stored."""

    id: Id
    title: str


class Filter(Page, frozen=True, kw_only=True):
    """Which ones."""

    colour: str | None = None
    shop: str


async def create(request: Request, body: Form) -> View | Response:
    """Create one.

    It belongs to the caller.
    """
    return Response()


async def list_all(request: Request, query: Filter) -> Items[View]:
    """List them."""
    return Items([], None)


async def read_one(request: Request, id: Id, kind: str) -> View:
    return View(id, kind)


async def remove(request: Request, id: Id) -> None:
    """Remove one."""


async def change(request: Request, body: Form | None) -> Response:
    """Change."""
    return Response()


@pytest.fixture(scope="module")
def document():
    api = Api("shop", version="2", description="A shop.")
    api.post("/things", status=201, problems=(409,))(create)
    api.get("/things")(list_all)
    api.get("/things/{id}/{kind}", auth=False)(read_one)
    api.delete("/things/{id}", status=204, problems=(403, 412))(remove)
    api.put("/things", auth=False)(change)
    return api.openapi()


def test_it_is_openapi_3_1_with_a_title(document):
    """From the API's own words."""
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "shop", "version": "2", "description": "A shop."}


def test_it_can_be_sent(document):
    """JSON, and every reference leads somewhere."""
    text = msgspec.json.encode(document).decode()
    for part in text.split('"$ref":"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in document["components"]["schemas"]


def test_every_operation_is_there(document):
    """By path and method."""
    assert {path: set(methods) for path, methods in document["paths"].items()} == {
        "/things": {"post", "get", "put"},
        "/things/{id}/{kind}": {"get"},
        "/things/{id}": {"delete"},
    }


def test_operation_ids_are_unique_and_stable(document):
    """Clients are generated from them."""
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(ids)) == len(ids)
    assert "shop_create" in ids


def test_docstrings_are_summary_and_description(document):
    """Written once, in the code."""
    operation = document["paths"]["/things"]["post"]
    assert operation["summary"] == "Create one"
    assert operation["description"] == "It belongs to the caller."


def test_without_a_docstring_the_name_is_the_summary(document):
    """As words."""
    assert document["paths"]["/things/{id}/{kind}"]["get"]["summary"] == "Read one"


def test_the_body_is_described(document):
    """With its struct's schema."""
    body = document["paths"]["/things"]["post"]["requestBody"]
    assert body["required"] is True
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Form"}
    title = document["components"]["schemas"]["Form"]["properties"]["title"]
    assert title == {"type": "string", "minLength": 1, "maxLength": 200, "examples": ["Milk"]}


def test_an_optional_body_is_not_required(document):
    """As declared."""
    assert document["paths"]["/things"]["put"]["requestBody"]["required"] is False


def test_the_answer_is_described_with_its_status(document):
    """Also where a response object may come in its place."""
    created = document["paths"]["/things"]["post"]["responses"]["201"]
    assert created["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/View"}


def test_an_answer_without_a_body_has_no_content(document):
    """204, and responses that nobody described."""
    assert "content" not in document["paths"]["/things/{id}"]["delete"]["responses"]["204"]
    assert "content" not in document["paths"]["/things"]["put"]["responses"]["200"]


def test_a_list_is_described(document):
    """With the items' schema inside."""
    schema = document["paths"]["/things"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    name = schema["$ref"].rpartition("/")[2]
    items = document["components"]["schemas"][name]["properties"]["items"]
    assert items == {"type": "array", "items": {"$ref": "#/components/schemas/View"}}


def test_query_parameters_are_described(document):
    """With their bounds, and whether they are needed."""
    parameters = {p["name"]: p for p in document["paths"]["/things"]["get"]["parameters"]}
    assert set(parameters) == {"limit", "cursor", "colour", "shop"}
    assert parameters["limit"]["schema"]["maximum"] == 200
    assert parameters["shop"]["required"] is True
    assert parameters["colour"]["required"] is False
    assert all(p["in"] == "query" for p in parameters.values())


def test_path_parameters_are_described(document):
    """An id is a UUID."""
    parameters = document["paths"]["/things/{id}/{kind}"]["get"]["parameters"]
    assert parameters == [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}},
        {"name": "kind", "in": "path", "required": True, "schema": {"type": "string"}},
    ]


@pytest.mark.parametrize(
    ("path", "method", "problems"),
    [
        ("/things", "post", {"400", "401", "409", "413", "415", "422", "500"}),
        ("/things", "get", {"401", "422", "500"}),
        ("/things/{id}/{kind}", "get", {"404", "500"}),
        ("/things/{id}", "delete", {"401", "403", "404", "412", "500"}),
    ],
)
def test_problems_follow_from_the_declaration(document, path, method, problems):
    """Those that anybody can get there, and those that the author named."""
    responses = document["paths"][path][method]["responses"]
    described = {status for status, response in responses.items() if int(status) >= 400}
    assert described == problems
    for status in described:
        content = responses[status]["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ProblemBody"}
        assert content["example"]["status"] == int(status)


def test_a_problem_is_described(document):
    """Members that may be absent aren't required, and are never null."""
    schema = document["components"]["schemas"]["ProblemBody"]
    assert set(schema["required"]) == {"type", "title", "status"}
    assert schema["properties"]["detail"] == {"type": "string"}


def test_operations_that_need_a_token_say_so(document):
    """And only those."""
    assert document["paths"]["/things"]["post"]["security"] == [{"bearer": []}]
    assert "security" not in document["paths"]["/things"]["put"]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_it_is_made_once_and_again_after_a_change():
    """A later declaration is in it."""
    api = Api("shop", version="1")
    api.get("/a", auth=False)(change)
    first = api.openapi()
    assert api.openapi() is first
    api.put("/b", auth=False)(change)
    assert "/b" in api.openapi()["paths"]
