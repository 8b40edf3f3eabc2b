"""The reference of the built-in stack has every operation, status, field and event that the services have."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from micro.gateway.endpoints import PATHS
from micro.runtime.announce import _TYPES
from micro.services.notification import channels
from micro.services.notification.service import service as notification
from micro.services.task.service import service as task
from micro.services.user.service import service as user

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "builtin-stack.md").read_text()
SERVICES = {"user": user, "task": task, "notification": notification}
DOCUMENTS = {name: service.app.openapi() for name, service in SERVICES.items()}
VIEWS = {
    "UserView": ("user", {"Registration"}),
    "Tokens": ("user", set()),
    "TaskView": ("task", {"TaskForm"}),
    "CategoryView": ("task", {"CategoryForm"}),
    "NotificationView": ("notification", {"Draft"}),
}
WITH_BODY, ALWAYS = {"400", "413", "415", "422"}, {"500"}


def section(heading):
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[2]


def rows(heading):
    """The tables' lines below a heading, cell by cell, without the heads."""
    lines = re.findall(r"^\| (`.*) \|$", section(heading), re.MULTILINE)
    return [[cell.strip() for cell in line.split(" |")] for line in lines]


def operations(document):
    """Each operation with its success and the error statuses that don't follow from its declaration."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            statuses = set(operation["responses"])
            (success,) = (status for status in statuses if status < "300")
            assert (success == "204") is ("content" not in operation["responses"][success])
            own = statuses - {success} - ALWAYS
            own -= WITH_BODY if "requestBody" in operation else set()
            own -= {"401"} if "security" in operation else set()
            own -= (
                {"422"} if any(each["in"] == "query" for each in operation.get("parameters", ())) else set()
            )
            yield f"`{method.upper()} {path}`", success, " ".join(sorted(own))


@pytest.mark.parametrize("name", SERVICES)
def test_every_operation_is_there_with_its_statuses(name):
    shown = [(row[0], row[2], row[3]) for row in rows(name.capitalize())]
    assert shown == list(operations(DOCUMENTS[name]))


@pytest.mark.parametrize("name", SERVICES)
def test_the_first_table_has_the_port_and_the_routes(name):
    port, routes = {row[0]: row[1:3] for row in rows("The built-in stack")}[f"`{name}`"]
    assert int(port) == SERVICES[name].port
    assert re.findall("`(.+?)`", routes) == list(SERVICES[name].routes)


def test_the_gateways_own_paths_are_there():
    shown = {row[0].strip("`").removeprefix("GET ") for row in rows("Gateway")}
    assert shown == {path for path in PATHS if not path.startswith("/docs/")}


@pytest.mark.parametrize("view", VIEWS)
def test_every_field_is_there_and_says_whether_it_is_sent(view):
    service, forms = VIEWS[view]
    schemas = DOCUMENTS[service]["components"]["schemas"]
    table = rows(f"`{view}`")
    assert [row[0].strip("`") for row in table] == list(schemas[view]["properties"])
    for form in forms:
        required = {row[0].strip("`") for row in table if row[2] == "required"}
        optional = {row[0].strip("`") for row in table if row[2] == "optional"}
        assert required == set(schemas[form]["required"]) & set(schemas[view]["properties"])
        assert optional == set(schemas[form]["properties"]) - set(schemas[form]["required"])


def test_every_event_is_there_with_its_topic_and_data():
    text = section("Events")
    shown = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \| (.*) \|$", text, re.MULTILINE)
    real = [kind for service in SERVICES.values() for kind in service.publishes]
    assert [(name, topic) for name, topic, _ in shown] == [(kind.__name__, kind.topic) for kind in real]
    named, before = [], []
    for _, _, data in shown:
        listed = re.findall(r"`(\w+)`", data)
        before = before if data.startswith("the same") else listed
        named.append(before + (listed if data.startswith("the same") else []))
    assert named == [[field.name for field in fields(kind)] for kind in real]
    assert {kind.version for kind in real} == {1}


def test_every_subscription_is_there():
    shown = dict(re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|$", section("Events"), re.MULTILINE))
    real = {
        name: [handler.type for handler in service.handlers]
        for name, service in SERVICES.items()
        if service.handlers
    }
    assert {name: re.findall(r"`(\w+)`", types) for name, types in shown.items()} == real


def test_the_stacks_own_events_are_there():
    assert re.findall(r"`((?:Instance|Breaker|Panic)\w+)`", section("Events")) == list(_TYPES.values())


def test_every_setting_of_the_notification_service_is_there():
    code = Path(channels.__file__).read_text()
    assert set(re.findall(r"`(MICRO_\w+)`", PAGE)) >= set(re.findall(r"MICRO_\w+", code))
