"""From the tables of a stack to its services."""

from __future__ import annotations

import itertools
import sys
import textwrap

import pytest

from micro.bus.message import Event
from micro.config.load import load_service, load_stack, select
from micro.config.read import read_config
from micro.errors import ConfigurationError, NotFound
from micro.service import Service

numbers = itertools.count()


class Placed(Event, topic="order.events"):
    """An event for these tests."""


async def app(scope, receive, send):
    """An app for these tests."""


async def handle(event, tx):
    """A handler for these tests."""


@pytest.fixture(autouse=True)
def _python_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


@pytest.fixture
def package(tmp_path):
    """A folder to import from, whose name no other test has used; gone from `sys.modules` afterwards."""
    name = f"shop{next(numbers)}"
    folder = tmp_path / name
    (folder / "migrations").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    yield folder
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


@pytest.fixture
def stack_of(tmp_path):
    """The stack that the text of a `micro.toml` describes."""

    def read(text):
        (tmp_path / "micro.toml").write_text(text)
        return read_config(tmp_path, {}).stack

    return read


@pytest.fixture
def load(package, stack_of):
    """Writes a module `service`, and loads it by a table with these lines."""

    def write_and_load(code, table='service = "{}.service:service"', **names):
        (package / "service.py").write_text(textwrap.dedent(code))
        stack = stack_of(f"[services.shop]\n{table.format(package.name)}")
        return load_service(stack.member("shop"), stack)

    return write_and_load


@pytest.fixture
def refused(load, package):
    """The message with which loading is refused, the package's name written as `shop`."""

    def message(*arguments, **options):
        with pytest.raises(ConfigurationError) as caught:
            load(*arguments, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(package.name, "shop")

    return message


PLAIN = """
from micro import Service
async def app(scope, receive, send): ...
service = Service("shop", app=app, routes=["/orders"], port=8010, migrations="migrations")
"""


def test_a_service_is_imported_and_its_migrations_found_beside_the_module(load, package):
    service = load(PLAIN)
    assert (service.name, service.routes, service.port) == ("shop", ("/orders",), 8010)
    assert service.migrations == str(package / "migrations")
    assert callable(service.app)


def test_the_table_wins_over_what_the_service_declares_and_leaves_the_declaration_alone(load, package):
    service = load(PLAIN, 'service = "{}.service:service"\nport = 9000\nroutes = ["/a", "/b"]')
    assert (service.routes, service.port) == (("/a", "/b"), 9000)
    declared = sys.modules[f"{package.name}.service"].service
    assert (declared.routes, declared.port, declared.migrations) == (("/orders",), 8010, "migrations")


def test_handlers_and_workers_come_along(load):
    service = load(
        PLAIN
        + """
@service.on("UserCreatedEvent", topic="user.events")
async def on_user(event, tx): ...
@service.background
async def work(micro): ...
"""
    )
    assert [handler.type for handler in service.handlers] == ["UserCreatedEvent"]
    assert len(service.backgrounds) == 1


def test_an_app_named_by_an_import_string_is_imported(load, package):
    (package / "web.py").write_text("class web:\n  async def app(scope, receive, send): ...")
    service = load(f'from micro import Service\nservice = Service("shop", app="{package.name}.web:web.app")')
    assert service.app is sys.modules[f"{package.name}.web"].web.app


def test_a_plain_app_becomes_a_service_without_a_database(load):
    service = load(
        "async def app(scope, receive, send): ...", 'app = "{}.service:app"\nroutes = ["/x"]\nport = 1'
    )
    assert (service.name, service.routes, service.port, service.migrations) == ("shop", ("/x",), 1, None)


def test_a_service_without_an_app_is_a_worker(load):
    assert load('from micro import Service\nservice = Service("shop")').app is None


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1/0", "can't import shop.service: ZeroDivisionError: division by zero (shop/service.py, line 1)"),
        ("raise ValueError('a\\nb')", "can't import shop.service: ValueError: b (shop/service.py, line 1)"),
        ("raise ValueError", "can't import shop.service: ValueError (shop/service.py, line 1)"),
        ("x = (", "can't import shop.service: SyntaxError: '(' was never closed (shop/service.py, line 1)"),
        ("import sys\nsys.exit(3)", "can't import shop.service: SystemExit: 3 (shop/service.py, line 2)"),
        (
            "import no_such_thing",
            "can't import shop.service: ModuleNotFoundError: No module named 'no_such_thing' (",
        ),
        (
            "from json import lodas",
            "can't import shop.service: ImportError: cannot import name 'lodas' from 'json'",
        ),
        ("import json\njson.loads('')", "(shop/service.py, line 2)"),
        ("serviqe = 1", "shop.service has no 'service'; did you mean 'serviqe'?"),
        (
            "service = 1",
            'shop.service:service is not a Service; for a plain ASGI app write app = "shop.service:service"',
        ),
        (
            "from micro import Service\nservice = Service('store')",
            "shop.service:service is called 'store'; give the table and the Service one name",
        ),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_the_place_and_the_reason(refused, code, message):
    said = refused(code)
    assert said.startswith("micro.toml: services.shop.service: ")
    assert message in said


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("routes=['/x/']", "routes.0: '/x/' must not end in a slash"),
        ("port='80'", "port: must be an integer, not a string"),
        ("migrations='sql'", "migrations: no folder /"),
        ("app='json:dumps.x'", "app: json has no 'x'"),
        ("app='json'", "app: 'json' must be an import string like"),
        ("app='json:__name__'", "app: json:__name__ is not an ASGI app: it can't be called"),
    ],
)
def test_a_wrong_declaration_is_refused_with_the_service_and_the_argument(refused, declared, message):
    said = refused(f"from micro import Service\nservice = Service('shop', {declared})")
    assert said.startswith("shop.service:service: ")
    assert message in said


def test_a_missing_module_is_refused_with_the_nearest(refused):
    said = refused("", 'service = "{}.serviqe:service"')
    assert said == "micro.toml: services.shop.service: no module 'shop.serviqe'; did you mean 'service'?"


def test_a_missing_package_is_refused_with_where_it_was_looked_for(refused, tmp_path):
    said = refused("", 'service = "qqq.service:service"')
    assert said == (
        f"micro.toml: services.shop.service: no module 'qqq'; looked in {tmp_path} and on the Python path"
    )


def test_a_service_given_as_an_app_is_refused(refused):
    said = refused(PLAIN, 'app = "{}.service:service"')
    assert said == (
        'micro.toml: services.shop.app: shop.service:service is a Service; write service = "shop.service:service"'
    )


def test_a_member_that_is_not_python_cannot_be_loaded(stack_of):
    stack = stack_of('[services.shop]\nurl = "http://a"')
    with pytest.raises(ConfigurationError, match="there is nothing to import"):
        load_service(stack.member("shop"), stack)


def test_loading_twice_puts_the_folder_on_the_path_once(load, tmp_path):
    load(PLAIN)
    load(PLAIN)
    assert sys.path.count(str(tmp_path)) == 1


# -- whole stacks ------------------------------------------------------------------------------------------------------

TWO = """
[services.shop]
service = "shop:service"
[services.stock]
service = "stock:service"
depends = ["shop"]
"""


def two(**shop):
    return {
        "shop": Service("shop", app=app, **{"routes": ["/orders"]} | shop),
        "stock": Service("stock", app=app, routes=["/stock"]),
    }


def test_a_stack_is_completed_with_what_the_services_declare(stack_of):
    loaded = load_stack(stack_of(TWO), two(port=8005))
    assert [(member.name, member.port) for member in loaded.stack.members] == [
        ("shop", 8005),
        ("stock", 8001),
    ]
    assert [(route.path, route.service) for route in loaded.stack.gateway.routes] == [
        ("/orders", "shop"),
        ("/stock", "stock"),
    ]
    assert list(loaded.services) == ["shop", "stock"]
    assert loaded.warnings == ()


def test_completing_a_complete_stack_changes_nothing(stack_of):
    once = load_stack(stack_of(TWO), two()).stack
    assert load_stack(once, two()).stack == once


def test_services_without_a_port_take_the_free_ones_above_the_gateway(stack_of):
    text = TWO + "[services.third]\napp = 'x:y'\nport = 8001\n[services.far]\nurl = 'http://a'"
    stack = load_stack(stack_of(text), two() | {"third": Service("third", app=app)}).stack
    assert [member.port for member in stack.members] == [8002, 8003, 8001, None]


def test_a_gateway_on_any_port_has_services_on_any_port(stack_of):
    stack = load_stack(stack_of("[gateway]\nport = 0\n" + TWO), two()).stack
    assert [member.port for member in stack.members] == [0, 0]


def test_ports_that_services_declare_may_not_collide(stack_of):
    with pytest.raises(
        ConfigurationError, match=r"^shop:service: services\.shop\.port: port 8000 is taken by the gateway"
    ):
        load_stack(stack_of(TWO), two(port=8000))


def test_routes_that_services_declare_may_not_collide(stack_of):
    expected = r"^stock:service: services\.stock\.routes: /stock is a route of service 'shop' already"
    with pytest.raises(ConfigurationError, match=expected):
        load_stack(stack_of(TWO), two(routes=["/stock"]))


def test_a_route_of_the_gateway_stands_for_the_services_own(stack_of):
    text = TWO + "[[gateway.routes]]\npath = '/orders'\nservice = 'shop'\nauth = 'required'"
    routes = load_stack(stack_of(text), two()).stack.gateway.routes
    assert [(route.path, route.auth) for route in routes] == [("/orders", "required"), ("/stock", "none")]


def subscribed(type, topic, **options):
    services = two(publishes=[Placed])
    services["stock"].on(type, topic=topic)(handle)
    return services


@pytest.mark.parametrize(
    ("type", "topic", "warning"),
    [
        ("Placed", "order.events", None),
        ("AnythingAtAll", "system.events", None),
        (
            "Plaqed",
            "order.events",
            "stock: no service publishes Plaqed on order.events; did you mean Placed?",
        ),
        ("Placed", "orders", "stock: no service publishes Placed on orders; it is published on order.events"),
        ("Zzz", "order.events", "stock: no service publishes Zzz on order.events"),
    ],
)
def test_a_subscription_to_what_nobody_publishes_is_warned_about(stack_of, type, topic, warning):
    loaded = load_stack(stack_of(TWO), subscribed(type, topic))
    assert loaded.warnings == ((warning,) if warning else ())


def test_with_services_left_out_there_is_no_such_warning(stack_of):
    stack = select(stack_of(TWO), ["stock"], depends=False)
    assert load_stack(stack, subscribed("Zzz", "z")).warnings == ()


# -- a part of a stack -------------------------------------------------------------------------------------------------

CHAIN = """
[gateway.auth]
issuers = ["service:a", "stack"]
[services.c]
app = "x:c"
depends = ["b"]
routes = ["/c"]
[services.b]
app = "x:b"
depends = ["a"]
[services.a]
app = "x:a"
[[gateway.routes]]
path = "/a"
service = "a"
"""


def test_no_names_select_everything_in_the_order_of_dependence(stack_of):
    stack = select(stack_of(CHAIN), [])
    assert stack.names == ("a", "b", "c")
    assert not stack.partial


def test_a_service_brings_what_it_depends_on(stack_of):
    stack = select(stack_of(CHAIN), ["b"])
    assert stack.names == ("a", "b")
    assert stack.partial
    assert stack.gateway.issuers == ("service:a", "stack")
    assert [route.path for route in stack.gateway.routes] == ["/a"]


def test_a_service_alone_leaves_out_the_routes_and_issuers_of_the_others(stack_of):
    stack = select(stack_of(CHAIN), ["b"], depends=False)
    assert stack.names == ("b",)
    assert stack.gateway.issuers == ("stack",)
    assert stack.gateway.routes == ()


def test_an_unknown_name_is_refused_with_the_nearest(stack_of):
    with pytest.raises(NotFound, match="no service 'shpo'; did you mean 'shop'"):
        select(stack_of(TWO), ["shpo"])


def test_what_a_chain_of_ten_thousand_depends_on_is_found(stack_of):
    tables = ["[services.s0]\napp = 'a:b'"]
    tables += [f"[services.s{n}]\napp = 'a:b'\ndepends = ['s{n - 1}']" for n in range(1, 10_000)]
    assert len(select(stack_of("\n".join(tables)), ["s9999"]).members) == 10_000
