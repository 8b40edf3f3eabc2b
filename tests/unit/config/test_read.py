"""The configuration: layers, precedence, origins, and everything refused before anything starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from micro.config.read import read_config
from micro.errors import ConfigurationError
from micro.spec.gateway import GatewaySpec, Route
from micro.spec.terms import Rate

OWN = """
[services.shop]
service = "shop.service:service"
routes = ["/orders"]
port = 8010

[services.stock]
app = "stock.web:app"
routes = ["/stock"]
port = 8011
depends = ["shop"]
"""


@pytest.fixture
def config(tmp_path):
    """Reads a configuration from the text of a `micro.toml`."""

    def read(text=None, environ=None, **flags):
        if text is not None:
            (tmp_path / "micro.toml").write_text(text)
        return read_config(
            tmp_path, environ or {}, flags={key.replace("__", "."): value for key, value in flags.items()}
        )

    return read


@pytest.fixture
def refused(config):
    """The message with which a `micro.toml` is refused."""

    def message(text=None, environ=None, **flags):
        with pytest.raises(ConfigurationError) as caught:
            config(text, environ, **flags).profile()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message


def routes_of(config):
    return {
        (route.path, tuple(sorted(route.methods or ()))): (route.service, route.auth)
        for route in config.stack.gateway.routes
    }


# -- the built-in stack ------------------------------------------------------------------------------------------------


def test_without_a_file_the_built_in_stack_runs(config, tmp_path):
    stack = config().stack
    assert stack.names == ("user", "task", "notification")
    assert [member.port for member in stack.members] == [8001, 8002, 8003]
    assert stack.gateway.issuers == ("service:user", "stack")
    assert (stack.root, stack.file, stack.state) == (tmp_path, None, tmp_path / ".micro")
    assert stack.source == "built-in stack"


def test_the_built_in_routes_ask_for_a_token_except_to_register_and_log_in(config):
    assert routes_of(config()) == {
        ("/users", ("POST",)): ("user", "none"),
        ("/users", ()): ("user", "required"),
        ("/auth", ()): ("user", "none"),
        ("/tasks", ()): ("task", "required"),
        ("/categories", ()): ("task", "required"),
        ("/notifications", ()): ("notification", "required"),
    }


def test_the_built_in_gateway_says_what_its_defaults_are(config):
    spec, built = GatewaySpec(), config().stack.gateway
    for name in ("host", "port", "adapter", "trusted_proxies", "hosts", "max_body", "rate_limit", "cors"):
        assert getattr(built, name) == getattr(spec, name)


def test_a_file_without_services_keeps_the_built_in_ones(config):
    stack = config("[gateway]\nport = 9000").stack
    assert stack.names == ("user", "task", "notification")
    assert stack.gateway.port == 9000
    assert stack.gateway.rate_limit == Rate(100, 60.0)


def test_a_file_with_services_stands_alone(config):
    found = config(OWN)
    assert found.stack.names == ("shop", "stock")
    assert found.stack.gateway.issuers == ("stack",)
    assert found.stack.gateway.routes == ()
    assert found.stack.gateway.port == 8000
    assert set(found.profiles) == {"dev", "prod"}


def test_a_file_may_ask_for_the_built_in_services_besides_its_own(config):
    found = config("[stack]\nbuiltin = true\n" + OWN + 'env = { A = "1" }\n')
    assert found.stack.names == ("user", "task", "notification", "shop", "stock")


def test_a_file_may_do_without_any_built_in_service(config, refused):
    said = refused("[stack]\nbuiltin = false")
    assert said == "micro.toml: services: there is none; add [services.NAME], or set stack.builtin = true"


def test_a_built_in_service_is_overridden_key_by_key(config):
    found = config('[stack]\nbuiltin = true\n[services.task]\nport = 9002\nenv = { MODE = "test" }')
    member = found.stack.member("task")
    assert (member.port, member.service) == (9002, "micro.services.task.service:service")
    assert (member.depends, dict(member.env)) == (("user",), {"MODE": "test"})
    assert found.origins["services.task.port"] == "micro.toml"
    assert found.origins["services.task.service"] == "built-in"


def test_another_kind_takes_the_place_of_the_built_in_one(config):
    member = config('[stack]\nbuiltin = true\n[services.task]\napp = "mine:app"').stack.member("task")
    assert (member.service, member.app, member.port) == (None, "mine:app", 8002)


def test_a_service_that_lists_its_routes_loses_the_built_in_ones(config):
    found = config('[stack]\nbuiltin = true\n[services.task]\nroutes = ["/jobs"]')
    assert ("/tasks", ()) not in routes_of(found)
    assert ("/users", ()) in routes_of(found)


def test_a_path_that_the_file_lists_loses_its_built_in_routes(config):
    found = config('[[gateway.routes]]\npath = "/users"\nservice = "user"\nauth = "optional"')
    assert routes_of(found)["/users", ()] == ("user", "optional")
    assert ("/users", ("POST",)) not in routes_of(found)
    assert ("/tasks", ()) in routes_of(found)
    assert found.stack.gateway.routes[0].path == "/users"


# -- the tables --------------------------------------------------------------------------------------------------------


def test_everything_of_a_gateway_can_be_said(config):
    gateway = config(
        OWN
        + """
[gateway]
host = "0.0.0.0"
port = 0
adapter = "asgi"
trusted_proxies = ["10.0.0.0/8", "::1"]
hosts = ["example.org", "*.example.org"]
max_body = "10MB"
rate_limit = "off"
metrics_public = true
[gateway.cors]
origins = ["https://example.org"]
credentials = true
max_age = 60
[gateway.auth]
issuers = ["service:shop", "stack"]
[[gateway.routes]]
path = "/orders"
service = "shop"
methods = ["POST"]
auth = "required"
timeout = "2m"
max_body = "1kB"
rate_limit = "5/second"
"""
    ).stack.gateway
    assert (gateway.host, gateway.port, gateway.adapter) == ("0.0.0.0", 0, "asgi")
    assert gateway.trusted_proxies == ("10.0.0.0/8", "::1/128")
    assert (gateway.max_body, gateway.rate_limit, gateway.metrics_public) == (10_000_000, None, True)
    assert (gateway.cors.origins, gateway.cors.credentials, gateway.cors.max_age) == (
        ("https://example.org",),
        True,
        60,
    )
    assert gateway.cors.methods == GatewaySpec().cors.methods
    assert gateway.issuers == ("service:shop", "stack")
    assert gateway.routes == (
        Route(
            path="/orders",
            service="shop",
            methods=frozenset({"POST"}),
            auth="required",
            timeout=120.0,
            max_body=1000,
            rate_limit=Rate(5, 1.0),
        ),
    )


def test_members_by_command_and_url_are_described_like_the_others(config):
    stack = config(
        '[services.node]\ncommand = "node server.js"\nport = 9001\n[services.far]\nurl = "http://10.0.0.5:9000"\nhealth = "/up"'
    ).stack
    assert stack.member("node").command == "node server.js"
    assert (stack.member("far").url, stack.member("far").health) == (("http://10.0.0.5:9000",), "/up")


def test_a_project_file_says_the_same_in_its_own_table(config, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.micro.gateway]\nport = 9000")
    found = config()
    assert found.stack.gateway.port == 9000
    assert found.origins["gateway.port"] == found.stack.source == "pyproject.toml [tool.micro]"


def test_the_state_lies_beside_the_file(config, tmp_path):
    (tmp_path / "micro.toml").write_text("")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert read_config(deep, {}).stack.state == tmp_path / ".micro"


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no folder .*nowhere"):
        read_config(tmp_path / "nowhere", {})


REFUSED = [
    ("[services.far]\nurl = []", "services.far.url: must name at least one"),
    (
        "[services.far]\nurl = 'http://x'\nport = 0",
        "services.far.port: has no effect on a service that is given by url =",
    ),
    (
        "[services.far]\nurl = ['http://x']\nenv = { A = '1' }",
        "services.far.env: has no effect on a service that is given by url =",
    ),
    ("[stak]", "stak: unknown key; did you mean 'stack'?"),
    ("stack = 1", "stack: must be a table, not an integer"),
    ("[stack]\nname = ''", "stack.name: '' must be a name of letters, digits, spaces, - and _"),
    ("[gateway]\nprot = 1", "gateway.prot: unknown key; did you mean 'port'?"),
    ("[gateway]\nissuers = ['stack']", "gateway.issuers: unknown key"),
    ("[gateway]\nport = '8000'", "gateway.port: must be an integer, not a string"),
    ("[gateway]\nport = 8001", "gateway.port: port 8001 is taken by service 'user'"),
    (
        "[gateway]\nadapter = 'asgy'",
        "gateway.adapter: must be one of 'auto', 'asgi', 'protocol'; did you mean 'asgi'?",
    ),
    ("[gateway]\nmax_body = '1 megabyte'", "gateway.max_body: '1 megabyte' is not a size like"),
    ("[gateway]\nrate_limit = '100'", "gateway.rate_limit: '100' is not a rate like"),
    (
        "[gateway]\ntrusted_proxies = ['home']",
        "gateway.trusted_proxies.0: 'home' must be an address or network",
    ),
    ("[gateway]\nhosts = ['http://x']", "gateway.hosts.0: 'http://x' must be a host name or an address"),
    ("[gateway.cors]\nmax_age = -1", "gateway.cors.max_age: -1 must be a whole number"),
    (
        "[gateway.auth]\nissuers = ['stck']",
        "gateway.auth.issuers: 'stck' issues no tokens; did you mean 'stack'?",
    ),
    (
        "[gateway.auth]\nissuers = ['service:usr']",
        "gateway.auth.issuers: no service 'usr'; did you mean 'user'?",
    ),
    ("[[gateway.routes]]\nservice = 'user'", "gateway.routes.0.path: is missing"),
    ("[[gateway.routes]]\npath = '/x'", "gateway.routes.0.service: is missing"),
    (
        "[[gateway.routes]]\npath = '/x'\nservice = 'usr'",
        "gateway.routes.0.service: no service 'usr'; did you mean 'user'?",
    ),
    (
        "[[gateway.routes]]\npath = 'x'\nservice = 'user'",
        "gateway.routes.0.path: 'x' must be a path like \"/orders\"",
    ),
    (
        "[[gateway.routes]]\npath = '/x/'\nservice = 'user'",
        "gateway.routes.0.path: '/x/' must not end in a slash: write \"/x\"",
    ),
    (
        "[[gateway.routes]]\npath = '/a//b'\nservice = 'user'",
        "gateway.routes.0.path: '/a//b' must not have empty elements",
    ),
    (
        "[[gateway.routes]]\npath = '/a/../b'\nservice = 'user'",
        "gateway.routes.0.path: '/a/../b' must not have empty",
    ),
    (
        "[[gateway.routes]]\npath = '/x'\nservice = 'user'\ntimeout = '0s'",
        "gateway.routes.0.timeout: '0s' must be longer",
    ),
    (
        "[[gateway.routes]]\npath = '/x'\nservice = 'user'\nrate_limit = 'off'",
        "gateway.routes.0.rate_limit: 'off' is not",
    ),
    (
        "[[gateway.routes]]\npath = '/x'\nservice = 'user'\nauth = true",
        "gateway.routes.0.auth: must be one of 'none', ",
    ),
    (
        "[[gateway.routes]]\npath = '/x'\nservice = 'user'\n[[gateway.routes]]\npath = '/x'\nservice = 'task'",
        "gateway.routes.1: /x is a route of service 'user' already",
    ),
    (
        (
            "[[gateway.routes]]\npath = '/x'\nservice = 'user'\nmethods = ['PUT', 'GET']\n"
            "[[gateway.routes]]\npath = '/x'\nservice = 'user'\nmethods = ['GET']"
        ),
        "gateway.routes.1: GET /x is a route of service 'user' already",
    ),
    (
        "[services.task]\nport = 1",
        "services.task: the built-in services are left out; set stack.builtin = true to",
    ),
    ("[services.x]", "services.x: needs one of service, app, command, url"),
    ("[services.x]\napp = 'a:b'\nurl = 'http://c'", "services.x: has app and url; give just one"),
    ("[services.X]\napp = 'a:b'", "services.X: 'X' must be a name of at most 40 small letters"),
    ("[services.bus]\napp = 'a:b'", "services.bus: 'bus' is a name that micro itself uses"),
    ("[services.x]\napp = 'a.b'", "services.x.app: 'a.b' must be an import string like"),
    ("[services.x]\nname = 'y'\napp = 'a:b'", "services.x.name: unknown key"),
    (
        "[services.x]\napp = 'a:b'\nroutes = ['/health']",
        "services.x.routes.0: '/health' is answered by the gateway",
    ),
    ("[services.x]\nurl = 'ftp://c'", "services.x.url: 'ftp://c' must be a URL like"),
    ("[services.x]\nurl = 'http://me:pw@c'", "services.x.url: 'http://me:***@c' must be a URL like"),
    ("[services.x]\ncommand = ''", "services.x.command: '' must not be empty"),
    ("[services.x]\napp = 'a:b'\nhealth = 'up'", "services.x.health: 'up' must be a path"),
    ("[services.x]\napp = 'a:b'\nroutes = '/x'", "services.x.routes: must be an array, not a string"),
    ("[services.x]\napp = 'a:b'\nenv = { A = 1 }", "services.x.env.A: must be a string, not an integer"),
    (
        "[services.x]\napp = 'a:b'\nenv = { 'A=B' = '1' }",
        "services.x.env.'A=B': 'A=B' must be a variable's name",
    ),
    ('[services.x]\napp = "a:b"\nenv = { A = "\\u0000" }', "services.x.env.A: '\\x00' must not hold a NUL"),
    ("[services.x]\napp = 'a:b'\ndepends = ['y']", "services.x.depends: no service 'y'"),
    ("[services.x]\napp = 'a:b'\ndepends = ['x']", "services.x.depends: depends on itself: x → x"),
    (
        OWN.replace("port = 8010", 'port = 8010\ndepends = ["stock"]'),
        "depends: depends on itself: ",
    ),
    (OWN.replace("8011", "8010"), "services.stock.port: port 8010 is taken by service 'shop'"),
    (OWN.replace("8010", "8000"), "services.shop.port: port 8000 is taken by the gateway"),
    (OWN.replace("/stock", "/orders"), "services.stock.routes: /orders is a route of service 'shop' already"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_wrong_file_is_refused_with_file_key_path_and_the_nearest_name(refused, text, message):
    said = refused(text)
    assert said.startswith("micro.toml: ")
    assert message in said


def test_one_service_may_have_a_path_for_some_methods_and_another_for_the_rest(config):
    found = config(OWN + "[[gateway.routes]]\npath = '/orders'\nservice = 'stock'\nmethods = ['GET']\n")
    assert found.stack.gateway.routes[0].service == "stock"


def test_a_route_in_the_gateway_refines_the_service_s_own(config):
    config(OWN + "[[gateway.routes]]\npath = '/orders'\nservice = 'shop'\nauth = 'required'\n")


def test_ports_of_zero_never_collide(config):
    found = config(OWN.replace("8010", "0").replace("8011", "0"), gateway__port=0)
    assert [member.port for member in found.stack.members] == [0, 0]


def test_a_chain_of_ten_thousand_services_is_read(config):
    tables = ["[services.s0]\napp = 'a:b'"]
    tables += [f"[services.s{n}]\napp = 'a:b'\ndepends = ['s{n - 1}']" for n in range(1, 10_000)]
    assert len(config("\n".join(tables)).stack.members) == 10_000


def test_a_cycle_of_ten_thousand_services_is_refused_in_one_short_sentence(refused):
    tables = [f"[services.s{n}]\napp = 'a:b'\ndepends = ['s{(n + 1) % 10_000}']" for n in range(10_000)]
    assert len(refused("\n".join(tables))) < 200


# -- the environment and the flags -------------------------------------------------------------------------------------


def test_a_variable_overrides_the_file_and_a_flag_overrides_both(config):
    text = "[gateway]\nport = 9000\nhost = '0.0.0.0'"
    environ = {"MICRO_GATEWAY_PORT": "9001", "MICRO_GATEWAY_RATE_LIMIT": "off"}
    gateway = config(text, environ).stack.gateway
    assert (gateway.port, gateway.rate_limit, gateway.host) == (9001, None, "0.0.0.0")
    found = config(text, environ, gateway__port=9002, gateway__host=None)
    assert found.stack.gateway.port == 9002
    assert [found.origins[f"gateway.{key}"] for key in ("port", "rate_limit", "host", "max_body")] == [
        "flag",
        "environment MICRO_GATEWAY_RATE_LIMIT",
        "micro.toml",
        "built-in",
    ]


def test_variables_reach_tables_arrays_and_services(config):
    found = config(
        environ={
            "MICRO_GATEWAY_CORS_ORIGINS": "https://a, https://b",
            "MICRO_GATEWAY_AUTH_ISSUERS": "stack",
            "MICRO_GATEWAY_METRICS_PUBLIC": "yes",
            "MICRO_SERVICES_TASK_PORT": "9002",
            "MICRO_SERVICES_TASK_DEPENDS": "user,notification",
        }
    )
    gateway, task = found.stack.gateway, found.stack.member("task")
    assert (gateway.cors.origins, gateway.issuers, gateway.metrics_public) == (
        ("https://a", "https://b"),
        ("stack",),
        True,
    )
    assert (task.port, task.depends) == (9002, ("user", "notification"))


def test_an_empty_variable_counts_as_unset(config):
    assert config(environ={"MICRO_GATEWAY_PORT": ""}).stack.gateway.port == 8000


def test_a_wrong_variable_is_refused_by_its_name(refused):
    said = refused(environ={"MICRO_GATEWAY_PORT": "many"})
    assert (
        said
        == "environment MICRO_GATEWAY_PORT: gateway.port: must be an integer, written in digits, not 'many'"
    )
    said = refused(environ={"MICRO_GATEWAY_PORT": "-1"})
    assert (
        said
        == "environment MICRO_GATEWAY_PORT: gateway.port: must be an integer, written in digits, not '-1'"
    )
    said = refused(environ={"MICRO_GATEWAY_METRICS_PUBLIC": "maybe"})
    assert (
        said
        == "environment MICRO_GATEWAY_METRICS_PUBLIC: gateway.metrics_public: must be true or false, not 'maybe'"
    )


def test_a_collision_names_where_the_value_came_from(refused):
    said = refused(environ={"MICRO_SERVICES_TASK_PORT": "8001"})
    assert (
        said
        == "environment MICRO_SERVICES_TASK_PORT: services.task.port: port 8001 is taken by service 'user'"
    )


def test_a_wrong_flag_is_refused_as_such(refused):
    assert refused(gateway__port=-1) == "flag: gateway.port: -1 must be a port, from 0 to 65535"
    assert refused(gateway__prt=1) == "flag: gateway.prt: unknown key; did you mean 'port'?"


def test_a_misspelt_variable_is_warned_about(config):
    found = config(environ={"MICRO_GATEWAY_PROT": "1", "MICRO_ELSE": "x", "MICRO_PROFILE": "dev"})
    assert found.warnings == (
        "the variable MICRO_GATEWAY_PROT sets nothing; did you mean MICRO_GATEWAY_PORT?",
    )


def test_variables_that_are_no_setting_are_known_all_the_same(config):
    environ = {"MICRO_STACK_KEY": "x", "MICRO_ADVERTISE": "10.0.0.5"}
    assert config(environ=environ).warnings == ()
    (warning,) = config(environ={"MICRO_STACK_KEYS": "x"}).warnings
    assert "did you mean MICRO_STACK_KEY?" in warning


def test_an_env_file_beside_the_configuration_is_read_below_the_environment(config, tmp_path):
    (tmp_path / ".env").write_text("A=file\nB=file\nMICRO_GATEWAY_PORT=9000\n")
    found = config(environ={"A": "process"})
    assert (found.environment["A"], found.environment["B"]) == ("process", "file")
    assert found.stack.gateway.port == 9000


def test_the_environment_of_a_service_ends_with_its_own_table(config, tmp_path):
    (tmp_path / ".env").write_text("KEY=k\n")
    found = config(
        OWN + '[services.shop.env]\nMODE = "${KIND:-test}"\nTOKEN = "${KEY}-1"\nHOME = "here"\n',
        {"HOME": "/h"},
    )
    assert found.service_env("shop") == {"HOME": "here", "KEY": "k", "MODE": "test", "TOKEN": "k-1"}
    assert found.service_env("stock") == {"HOME": "/h", "KEY": "k"}


def test_variables_of_a_service_are_expanded_only_when_it_is_asked_for(config):
    found = config(OWN + '[services.shop.env]\nTOKEN = "${NO_SUCH}"\n')
    with pytest.raises(
        ConfigurationError, match=r"micro\.toml: services\.shop\.env\.TOKEN: the variable NO_SUCH"
    ):
        found.service_env("shop")


def test_there_is_no_environment_of_a_service_that_is_not_there(config):
    with pytest.raises(KeyError):
        config().service_env("nobody")


def test_reading_a_configuration_loads_no_web_framework():
    code = "import micro.config.read, sys; sys.exit(any(m in sys.modules for m in ('starlette', 'msgspec', 'dotenv', 'httpx')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
