"""Requests drawn from the stack's own OpenAPI document, right and wrong ones: never a 5xx, and nothing undocumented."""

from __future__ import annotations

import http.client
import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = 25
"""Of each operation."""
OPERATIONS = [
    "POST /users",
    "GET /users",
    "GET /users/{id}",
    "PUT /users/{id}",
    "POST /auth/login",
    "POST /auth/refresh",
    "POST /auth/logout",
    "POST /auth/verify",
    "GET /auth/jwks.json",
    "POST /tasks",
    "GET /tasks",
    "GET /tasks/{id}",
    "PUT /tasks/{id}",
    "DELETE /tasks/{id}",
    "POST /tasks/{id}/complete",
    "POST /categories",
    "GET /categories",
    "GET /categories/{id}",
    "PUT /categories/{id}",
    "DELETE /categories/{id}",
    "POST /notifications",
    "GET /notifications",
    "GET /notifications/{id}",
    "DELETE /notifications/{id}",
    "POST /notifications/{id}/send",
]
FRAMING = {400, 404}
"""What a path may get that is none, whatever the operation says."""

text = st.text(st.characters(), max_size=40)  # lone surrogates and NUL included
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
ids = st.uuids().map(str)
moments = st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
FORMATS = {"uuid": ids, "email": st.emails(), "date-time": moments}


class Api:
    """The stack's document, a client for it, and ids that exist."""

    def __init__(self, site):
        self._connection = http.client.HTTPConnection(site.gateway, timeout=60)
        self.tokens = [None, "x", site.token("ada"), site.token("root", role="admin")]
        self.document = json.loads(self.ask("GET", "/openapi.json")[2])
        self.schemas = self.document["components"]["schemas"]
        self.known = []
        """Ids of a task, a category and a notification."""

    def renew(self):
        """Make what another test may have deleted."""
        notice = {"user_id": "ada", "channel": "log", "subject": "s", "body": "b"}
        made = {"/tasks": {"title": "x"}, "/categories": {"name": "x"}, "/notifications": notice}
        self.known = [self._create(path, body) for path, body in made.items()]

    def _create(self, path, body):
        status, _, answer = self.ask("POST", path, json.dumps(body), self.headers(self.tokens[2]))
        assert status == 201, answer
        return json.loads(answer)["id"]

    def headers(self, token, **more):
        given = {"Content-Type": "application/json", **more}
        return given if token is None else {**given, "Authorization": f"Bearer {token}"}

    def ask(self, method, target, body=None, headers=None):
        self._connection.request(method, target, body, headers or {})
        answer = self._connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def close(self):
        self._connection.close()

    def operation(self, name):
        method, path = name.split()
        return self.document["paths"][path][method.lower()]

    def fitting(self, schema):
        """Values as the schema wants them, or nearly: what it says in a pattern is left to chance."""
        if "$ref" in schema:
            return self.fitting(self.schemas[schema["$ref"].rpartition("/")[2]])
        if "anyOf" in schema:
            return st.one_of([self.fitting(each) for each in schema["anyOf"]])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        kind = schema["type"]
        if kind == "object":
            return self._objects(schema)
        if kind == "string":
            return FORMATS.get(schema.get("format"), self._texts(schema))
        if kind == "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        assert kind == "null", kind
        return st.none()

    def values(self, schema):
        """Fitting ones, and anything else."""
        return self.fitting(schema) | anything

    def _objects(self, schema):
        members = {name: self.values(each) for name, each in schema["properties"].items()}
        required = {name: members.pop(name) for name in schema["required"]}
        exact = {name: self.fitting(schema["properties"][name]) for name in required}
        return st.fixed_dictionaries(required, optional=members) | st.fixed_dictionaries(exact)

    def _texts(self, schema):
        least, most = schema.get("minLength", 0), schema.get("maxLength", 100)
        plain = st.text(st.characters(codec="ascii"), min_size=least, max_size=min(most, 60))
        return plain | st.integers(most - 1, most + 1).map(lambda size: "ä" * size)


@pytest.fixture(scope="module")
def api(site):
    made = Api(site)
    yield made
    made.close()


def bodies(api, operation):
    """JSON of the right shape or of any, or any bytes."""
    if "requestBody" not in operation:
        return st.none() | st.binary(max_size=20)
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return api.values(schema).map(json.dumps).map(str.encode) | st.binary(max_size=40)


@st.composite
def requests(draw, api, name):
    """Method, target, body and headers of one request."""
    method, path = name.split()
    operation = api.operation(name)
    id = draw(st.sampled_from(api.known) | ids | text)
    target = path.replace("{id}", quote(id.encode("utf-8", "surrogatepass"), safe=""))
    query = {
        each["name"]: draw(api.values(each["schema"]))
        for each in operation.get("parameters", [])
        if each["in"] == "query" and draw(st.booleans())
    }
    if query:
        target += "?" + urlencode({name: str(value) for name, value in query.items()}, errors="surrogatepass")
    headers = api.headers(draw(st.sampled_from(api.tokens)))
    if draw(st.booleans()):
        headers["If-Match"] = draw(st.sampled_from(["*", '"1"', 'W/"1"', '"1", "2"', "1", ""]))
    return method, target, draw(bodies(api, operation)), headers


def test_the_operations_below_are_those_of_the_document(api):
    assert sorted(OPERATIONS) == sorted(
        f"{method.upper()} {path}" for path, item in api.document["paths"].items() for method in item
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_gets_a_5xx_or_an_answer_that_is_not_documented(api, name):
    api.renew()
    documented = {int(status) for status in api.operation(name)["responses"]}

    @settings(max_examples=EXAMPLES)
    @given(requests(api, name))
    def ask(request):
        status, headers, body = api.ask(*request)
        assert status < 500, (status, body)
        assert status in documented | FRAMING, (status, body)
        if status >= 400:
            problem = json.loads(body)
            assert headers["content-type"] == "application/problem+json"
            assert (problem["status"], problem["request_id"]) == (status, headers["x-request-id"])
        elif status != 204:
            json.loads(body)

    ask()
