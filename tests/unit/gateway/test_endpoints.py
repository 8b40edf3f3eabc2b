"""The gateway's own endpoints, and the documents of all services in one."""

from __future__ import annotations

import asyncio
import copy

import pytest

from micro.gateway.endpoints import PATHS
from micro.gateway.openapi import merged
from micro.gateway.upstream.local import LocalUpstream
from micro.spec.gateway import Route
from micro.spec.terms import Rate


@pytest.mark.parametrize(
    ("states", "verdict", "status"),
    [
        ({"user": "healthy", "task": "healthy"}, "healthy", 200),
        ({"user": "healthy", "task": "unhealthy"}, "degraded", 200),
        ({"user": "unhealthy", "task": "unhealthy"}, "unhealthy", 503),
    ],
)
async def test_health_is_the_background_verdict_on_every_service(bench, echo, states, verdict, status):
    bench.serve(echo)
    bench.states = states
    answer = await bench.ask("GET", "/health")
    assert answer.status == status
    assert answer.json() == {"status": verdict, "timestamp": "2026-01-01T00:00:00.000Z", "services": states}
    assert answer["cache-control"] == "no-store"
    assert echo.scopes == []


@pytest.mark.parametrize("path", sorted(PATHS))
async def test_the_gateways_own_paths_win_over_routes(bench, echo, path):
    bench.serve(
        echo, routes=[Route(path=path, service="app", auth="required"), Route(path="/", service="app")]
    )
    answer = await bench.ask("GET", path, client=("127.0.0.1", 1))
    assert answer.status == 200
    assert "x-request-id" in answer
    assert echo.scopes == []
    assert bench.log[0].upstream == ""


@pytest.mark.parametrize("path", ["/health/live", "/healthy", "/docs/x", "/metrics/x"])
async def test_what_only_looks_like_an_endpoint_is_routed(bench, echo, path):
    assert (await bench.serve(echo).ask("GET", path)).status == 200
    assert len(echo.scopes) == 1


@pytest.mark.parametrize("path", sorted(PATHS))
async def test_endpoints_take_get_and_head(bench, echo, path):
    bench.serve(echo)
    answer = await bench.ask("POST", path)
    assert (answer.status, answer["allow"]) == (405, "GET, HEAD")
    answer = await bench.ask("HEAD", path, client=("127.0.0.1", 1))
    assert (answer.status, answer.body) == (200, b"")


async def test_endpoints_do_not_count_against_the_limit(bench, echo):
    bench.serve(echo, rate_limit=Rate(1, 60.0))
    for _ in range(3):
        assert (await bench.ask("GET", "/health")).status == 200
    assert (await bench.ask("GET", "/")).status == 200


async def test_metrics_are_for_this_machine(bench, echo):
    bench.serve(echo)
    await bench.ask("GET", "/")
    answer = await bench.ask("GET", "/metrics", client=("127.0.0.1", 1))
    assert (answer.status, answer["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'micro_gateway_requests_total{service="app",method="GET",status="200"} 1' in answer.body
    answer = await bench.ask("GET", "/metrics")
    assert answer.status == 403
    assert answer.json()["request_id"] == answer["x-request-id"]


async def test_a_stranger_cannot_pose_as_this_machine(bench, echo):
    bench.serve(echo)
    headers = [("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1"), ("host", "127.0.0.1")]
    assert (await bench.ask("GET", "/metrics", headers=headers)).status == 403


async def test_a_client_behind_a_proxy_on_this_machine_is_not_this_machine(bench, echo):
    bench.serve(echo, trusted_proxies=("127.0.0.1",))
    headers = [("x-forwarded-for", "192.0.2.1")]
    assert (await bench.ask("GET", "/metrics", headers=headers, client=("127.0.0.1", 1))).status == 403


async def test_metrics_are_for_everyone_where_it_says_so(bench, echo):
    bench.serve(echo, metrics_public=True)
    assert (await bench.ask("GET", "/metrics")).status == 200


async def test_the_docs_work_offline(bench, echo):
    bench.serve(echo)
    page = await bench.ask("GET", "/docs")
    assert page["content-type"].startswith("text/html")
    assert b"/openapi.json" in page.body
    assert b"http" not in page.body.replace(b"<!doctype html>", b"")
    for path in sorted(PATHS - {"/docs", "/health", "/metrics", "/openapi.json"}):
        asset = await bench.ask("GET", path)
        assert asset.status == 200
        assert len(asset.body) > 100
        assert int(asset["content-length"]) == len(asset.body)


async def test_a_document_that_takes_too_long_is_504(bench, echo):
    bench.serve(echo)

    async def never():
        await asyncio.Event().wait()

    bench.gateway.documents = never
    bench._documents = never
    bench.serve(echo)
    wire = bench.open("GET", "/openapi.json")
    await bench.clock.advance(16)
    assert (await wire.end()).status == 504


def operation(name, *, schema="Thing", **more):
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {
        "operationId": name,
        "tags": ["x"],
        "responses": {"200": {"description": "OK", "content": content}},
    } | more


def document(paths, **components):
    return {
        "openapi": "3.1.0",
        "info": {"title": "x", "version": "1"},
        "paths": paths,
        "components": components,
    }


THING = {"type": "object", "properties": {"id": {"type": "string"}}}
OTHER = {"type": "object", "properties": {"id": {"type": "integer"}}}


def reach(service, method, path):
    return path if {"a": "alpha", "b": "beta"}.get(path[1:2]) == service else None


async def test_all_documents_are_served_in_one(bench, make_echo):
    upstreams = {"alpha": LocalUpstream(make_echo()), "beta": LocalUpstream(make_echo())}
    bench.serve(
        upstreams=upstreams, routes=[Route(path="/a", service="alpha"), Route(path="/b", service="beta")]
    )
    bench.documents = {
        "alpha": document({"/a/{id}": {"get": operation("read")}}, schemas={"Thing": THING}),
        "beta": document(
            {"/b": {"get": operation("list")}, "/hidden": {"get": operation("hide")}},
            schemas={"Thing": THING},
        ),
    }
    answer = await bench.ask("GET", "/openapi.json")
    whole = answer.json()
    assert whole["openapi"] == "3.1.0"
    assert whole["servers"] == [{"url": "/"}]
    assert sorted(whole["paths"]) == ["/a/{id}", "/b"]
    assert whole["paths"]["/b"]["get"]["tags"] == ["beta"]
    assert [tag["name"] for tag in whole["tags"]] == ["alpha", "beta"]
    assert whole["components"]["schemas"] == {"Thing": THING}


def test_no_documents_make_an_empty_one():
    assert merged({}, reach)["paths"] == {}


def test_operations_that_are_routed_elsewhere_are_left_out():
    paths = {"/a": {"get": operation("x"), "post": operation("y")}, "/b": {"get": operation("z")}}
    whole = merged({"alpha": document(paths)}, lambda _, method, path: path if method == "GET" else None)
    assert whole["paths"]["/a"].keys() == {"get"}
    assert merged({"alpha": document(paths)}, lambda service, method, path: None)["paths"] == {}


def test_components_that_differ_are_told_apart_and_references_follow():
    documents = {
        "alpha": document({"/a": {"get": operation("a")}}, schemas={"Thing": THING}),
        "beta": document({"/b": {"get": operation("b")}}, schemas={"Thing": OTHER}),
    }
    whole = merged(documents, reach)
    assert whole["components"]["schemas"] == {"Thing": THING, "beta_Thing": OTHER}
    schema = whole["paths"]["/b"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/beta_Thing"}
    schema = whole["paths"]["/a"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Thing"}


def test_a_component_that_refers_to_one_that_differs_differs():
    def schemas(thing):
        return {
            "Thing": thing,
            "Things": {"type": "array", "items": {"$ref": "#/components/schemas/Thing/properties/id"}},
        }

    documents = {"alpha": document({}, schemas=schemas(THING)), "beta": document({}, schemas=schemas(OTHER))}
    components = merged(documents, reach)["components"]["schemas"]
    assert components["Things"]["items"]["$ref"] == "#/components/schemas/Thing/properties/id"
    assert components["beta_Things"]["items"]["$ref"] == "#/components/schemas/beta_Thing/properties/id"


def test_a_new_name_is_a_free_one():
    documents = {
        "alpha": document({}, schemas={"Thing": THING}),
        "beta": document({}, schemas={"Thing": OTHER, "beta_Thing": {"type": "null"}}),
    }
    components = merged(documents, reach)["components"]["schemas"]
    assert components == {"Thing": THING, "beta_Thing": {"type": "null"}, "beta_Thing_": OTHER}


def test_the_mapping_of_a_discriminator_follows():
    union = {
        "oneOf": [{"$ref": "#/components/schemas/Thing"}],
        "discriminator": {
            "propertyName": "kind",
            "mapping": {"t": "#/components/schemas/Thing", "u": "Other"},
        },
    }
    documents = {
        "alpha": document({}, schemas={"Thing": THING}),
        "beta": document({}, schemas={"Thing": OTHER, "Union": union}),
    }
    union = merged(documents, reach)["components"]["schemas"]["Union"]
    assert union["discriminator"]["mapping"] == {"t": "#/components/schemas/beta_Thing", "u": "Other"}


def test_security_schemes_are_shared_where_they_are_the_same_and_told_apart_where_not():
    bearer, key = {"type": "http", "scheme": "bearer"}, {"type": "apiKey", "in": "header", "name": "x-key"}
    secured = operation("x", security=[{"auth": ["read"]}])
    documents = {
        "alpha": document({"/a": {"get": secured}}, securitySchemes={"auth": bearer}),
        "beta": document({"/b": {"get": secured}}, securitySchemes={"auth": key}),
        "beta2": document({}, securitySchemes={"auth": bearer}),
    }
    whole = merged(documents, reach)
    assert whole["components"]["securitySchemes"] == {"auth": bearer, "beta_auth": key}
    assert whole["paths"]["/a"]["get"]["security"] == [{"auth": ["read"]}]
    assert whole["paths"]["/b"]["get"]["security"] == [{"beta_auth": ["read"]}]


def test_the_security_of_a_whole_document_goes_to_its_operations():
    open_ = operation("open", security=[])
    alpha = document(
        {"/a": {"get": operation("closed"), "post": open_}}, securitySchemes={"auth": {"type": "http"}}
    )
    alpha["security"] = [{"auth": []}]
    paths = merged({"alpha": alpha, "beta": document({"/b": {"get": operation("b")}})}, reach)["paths"]
    assert paths["/a"]["get"]["security"] == [{"auth": []}]
    assert paths["/a"]["post"]["security"] == []
    assert "security" not in paths["/b"]["get"]


def test_operation_ids_stay_unique():
    documents = {
        "alpha": document({"/a": {"get": operation("read")}}),
        "beta": document({"/b": {"get": operation("read"), "post": {"responses": {}}}}),
    }
    paths = merged(documents, reach)["paths"]
    assert paths["/a"]["get"]["operationId"] == "read"
    assert paths["/b"]["get"]["operationId"] == "beta_read"
    assert "operationId" not in paths["/b"]["post"]


def test_two_services_may_share_a_path():
    documents = {
        "alpha": document({"/x": {"get": operation("a"), "parameters": [{"name": "q", "in": "query"}]}}),
        "beta": document({"/x": {"post": operation("b")}}),
    }
    owners = {"GET": "alpha", "POST": "beta"}
    whole = merged(documents, lambda service, method, path: path if owners[method] == service else None)
    assert whole["paths"]["/x"]["get"]["tags"] == ["alpha"]
    assert whole["paths"]["/x"]["post"]["tags"] == ["beta"]
    assert whole["paths"]["/x"]["get"]["parameters"] == [{"name": "q", "in": "query"}]
    assert "parameters" not in whole["paths"]["/x"]["post"]
    assert "parameters" not in whole["paths"]["/x"]


def test_an_operations_own_parameter_precedes_the_paths():
    own, shared = {"name": "q", "in": "query", "required": True}, {"name": "q", "in": "query"}
    more = {"$ref": "#/components/parameters/page"}
    item = {"get": operation("a", parameters=[own]), "parameters": [shared, more]}
    whole = merged({"alpha": document({"/a": item})}, reach)
    assert whole["paths"]["/a"]["get"]["parameters"] == [more, own]


def test_the_services_documents_are_not_changed():
    documents = {
        "alpha": document({"/a": {"get": operation("x"), "parameters": []}}, schemas={"Thing": THING}),
        "beta": document({"/b": {"get": operation("x")}}, schemas={"Thing": OTHER}),
    }
    before = copy.deepcopy(documents)
    merged(documents, reach)
    assert documents == before


def test_a_services_description_becomes_its_tags():
    alpha = document({})
    alpha["info"]["description"] = "Everything about a."
    assert merged({"alpha": alpha}, reach)["tags"] == [
        {"name": "alpha", "description": "Everything about a."}
    ]


@pytest.mark.parametrize("broken", [{}, {"paths": {}}, {"components": {}}])
def test_a_document_that_says_little_is_no_harm(broken):
    assert merged({"alpha": broken}, reach)["paths"] == {}


@pytest.mark.parametrize(
    "broken",
    [
        {"components": []},
        {"components": {"schemas": 1}},
        {"info": 7},
        {"paths": {"/b": 7}},
        {"paths": {"/b": {"get": "no"}}},
        {"paths": {"/b": {"get": {}, "parameters": 5}}},
        {"paths": {"/b": {"get": {"operationId": ["a"]}}}},
    ],
)
def test_a_malformed_document_is_left_out_as_a_whole_and_told(broken, caplog):
    whole = document({"/a": {"get": operation("one")}})
    odd = {"components": {"schemas": {"Odd": {}}}, "paths": {}} | broken
    assert merged({"alpha": whole, "beta": odd}, reach) == merged({"alpha": whole}, reach)
    assert "the OpenAPI document of beta is malformed and left out" in caplog.text


def test_an_operation_stands_under_the_path_by_which_clients_reach_it():
    def moved(service, method, path):
        return {"GET": f"/api{path}", "PUT": f"/edit{path}"}.get(method)

    item = {"summary": "about", "parameters": [{"name": "id", "in": "path"}]}
    item |= {"get": operation("a"), "put": operation("b"), "post": operation("c")}
    paths = merged({"alpha": document({"/a/{id}": item})}, moved)["paths"]
    assert {path: sorted(inner) for path, inner in paths.items()} == {
        "/api/a/{id}": ["get", "summary"],
        "/edit/a/{id}": ["put", "summary"],
    }
    assert paths["/edit/a/{id}"]["put"]["parameters"] == item["parameters"]
