"""What can be said of the gateway and of upstreams, and what is refused, with file, key path and the nearest name."""

from __future__ import annotations

import pytest

from micro.config.read import read_config
from micro.errors import ConfigurationError
from micro.spec.gateway import ApiKey, HeaderChanges, RateRule, Route
from micro.spec.terms import Rate
from micro.spec.upstream import BreakerSpec, EjectionSpec, ProbeSpec, RetrySpec, TlsSpec

SHOP = """
[services.shop]
url = ["http://10.0.0.5:9000", "https://10.0.0.6/base"]
"""
ROUTE = '[[gateway.routes]]\npath = "/x"\nservice = "shop"\n'


@pytest.fixture
def config(tmp_path):
    def read(text="", environ=None):
        (tmp_path / "micro.toml").write_text(SHOP + text)
        return read_config(tmp_path, environ or {}).stack

    return read


@pytest.fixture
def refused(config):
    def message(text="", environ=None):
        with pytest.raises(ConfigurationError) as caught:
            config(text, environ)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message


def test_everything_of_a_route_can_be_said(config):
    text = """
exact = true
host = "*.Example.com"
headers = { X-Version = "2", Accept = "*" }
query = { beta = "*" }
rewrite = "/health"
auth = "required"
accept = ["token", "api_key"]
scopes = ["orders"]
roles = ["admin", "clerk"]
rate_limits = [{ limit = "5/second", by = "user", burst = 2 }]
request_headers = { remove = ["Cookie"], set = { X-Key = "a" }, add = { X-More = "b" } }
response_headers = { remove = ["Server"] }
breaker = { failure_rate = 30 }
policies = ["shop.gateway:Tenants"]
middleware = ["shop.gateway:Timing"]
"""
    (route,) = config(ROUTE + text).gateway.routes
    assert route == Route(
        path="/x",
        service="shop",
        exact=True,
        host="*.example.com",
        headers={"x-version": "2", "accept": "*"},
        query={"beta": "*"},
        rewrite="/health",
        auth="required",
        accept=("token", "api_key"),
        scopes=frozenset({"orders"}),
        roles=frozenset({"admin", "clerk"}),
        rate_limits=(RateRule(limit=Rate(5, 1.0), by="user", burst=2),),
        request_headers=HeaderChanges(remove=("cookie",), set={"x-key": "a"}, add={"x-more": "b"}),
        response_headers=HeaderChanges(remove=("server",)),
        breaker=BreakerSpec(failure_rate=30),
        policies=("shop.gateway:Tenants",),
        middleware=("shop.gateway:Timing",),
    )


def test_everything_of_the_gateway_can_be_said(config):
    gateway = config(
        f"""
[gateway]
max_head = "64KiB"
head_timeout = "5s"
min_rate = "1KiB"
max_requests = 100
rate_limits = [{{ limit = "1000/hour", by = "api_key" }}]
security_headers = false
access_log = false
policies = ["shop.gateway:Tenants"]
middleware = ["shop.gateway:Timing"]
[gateway.api_keys.ci]
hash = "sha256:{"a" * 64}"
role = "admin"
scopes = ["deploy"]
[gateway.auth.providers.company]
issuer = "https://id.example.com"
jwks = "https://id.example.com/keys"
audience = ["shop"]
algorithms = ["RS256"]
"""
    ).gateway
    assert (gateway.max_head, gateway.head_timeout, gateway.min_rate) == (64 << 10, 5.0, 1024)
    assert (gateway.max_requests, gateway.rate_limits) == (
        100,
        (RateRule(limit=Rate(1000, 3600.0), by="api_key"),),
    )
    assert (gateway.security_headers, gateway.access_log) == (False, False)
    assert (gateway.policies, gateway.middleware) == (("shop.gateway:Tenants",), ("shop.gateway:Timing",))
    assert gateway.api_keys == {
        "ci": ApiKey(hash=f"sha256:{'a' * 64}", role="admin", scopes=frozenset({"deploy"}))
    }
    assert gateway.providers["company"].algorithms == ("RS256",)
    assert gateway.issuers == ("stack",)


def test_everything_of_an_upstream_can_be_said(config):
    upstream = (
        config(
            """
[services.shop.upstream]
balance = "hash"
hash_by = "header:x-tenant"
pass_host = true
max_connections = 5
max_requests = 6
queue = 7
queue_timeout = "2s"
connect_timeout = "1s"
write_timeout = "3s"
first_byte_timeout = "4s"
read_timeout = "5s"
keep_alive = "6s"
slow_start = "7s"
panic_below = 0
probe = { interval = "1s", timeout = "500ms", unhealthy_after = 1, healthy_after = 1 }
ejection = { failures = 2, period = "1s", longest = "2s", at_most = 10 }
breaker = { failure_rate = 10, requests = 5, window = "1s", open = "2s" }
retry = { attempts = 3, statuses = [503], budget = 10, base = "10ms", cap = "20ms" }
tls = { ca = "ca.pem", certificate = "client.pem", server_name = "shop.internal" }
"""
        )
        .member("shop")
        .upstream
    )
    assert (upstream.balance, upstream.hash_by, upstream.pass_host) == ("hash", "header:x-tenant", True)
    assert (upstream.max_connections, upstream.max_requests, upstream.queue) == (5, 6, 7)
    assert (upstream.queue_timeout, upstream.connect_timeout, upstream.write_timeout) == (2.0, 1.0, 3.0)
    assert (upstream.first_byte_timeout, upstream.read_timeout, upstream.keep_alive) == (4.0, 5.0, 6.0)
    assert (upstream.slow_start, upstream.panic_below) == (7.0, 0)
    assert upstream.probe == ProbeSpec(interval=1.0, timeout=0.5, unhealthy_after=1, healthy_after=1)
    assert upstream.ejection == EjectionSpec(failures=2, period=1.0, longest=2.0, at_most=10)
    assert upstream.breaker == BreakerSpec(failure_rate=10, requests=5, window=1.0, open=2.0)
    assert upstream.retry == RetrySpec(attempts=3, statuses=(503,), budget=10, base=0.01, cap=0.02)
    assert upstream.tls == TlsSpec(ca="ca.pem", certificate="client.pem", server_name="shop.internal")


def test_a_url_is_one_or_a_list(config, tmp_path):
    assert config().member("shop").url == ("http://10.0.0.5:9000", "https://10.0.0.6/base")
    (tmp_path / "micro.toml").write_text('[services.shop]\nurl = "http://10.0.0.5:9000"')
    assert read_config(tmp_path, {}).stack.member("shop").url == ("http://10.0.0.5:9000",)


def test_scalars_have_variables_at_every_depth(config):
    environ = {
        "MICRO_GATEWAY_MAX_HEAD": "64KiB",
        "MICRO_GATEWAY_HEAD_TIMEOUT": "5s",
        "MICRO_GATEWAY_MAX_REQUESTS": "9",
        "MICRO_GATEWAY_SECURITY_HEADERS": "off",
        "MICRO_GATEWAY_POLICIES": "a:B, c:D",
        "MICRO_SERVICES_SHOP_URL": "http://a:1,http://b:2",
        "MICRO_SERVICES_SHOP_UPSTREAM_BALANCE": "two_choices",
        "MICRO_SERVICES_SHOP_UPSTREAM_FIRST_BYTE_TIMEOUT": "5s",
        "MICRO_SERVICES_SHOP_UPSTREAM_RETRY_STATUSES": "502,503",
        "MICRO_SERVICES_SHOP_UPSTREAM_TLS_CA": "ca.pem",
    }
    stack = config(environ=environ)
    gateway, shop = stack.gateway, stack.member("shop")
    assert (gateway.max_head, gateway.head_timeout, gateway.max_requests) == (64 << 10, 5.0, 9)
    assert (gateway.security_headers, gateway.policies) == (False, ("a:B", "c:D"))
    assert shop.url == ("http://a:1", "http://b:2")
    assert (shop.upstream.balance, shop.upstream.first_byte_timeout) == ("two_choices", 5.0)
    assert (shop.upstream.retry.statuses, shop.upstream.tls.ca) == ((502, 503), "ca.pem")


REFUSED = [
    (ROUTE + 'hots = "a"', "gateway.routes.0.hots: unknown key; did you mean 'host'?"),
    (ROUTE + 'host = "a:80"', "gateway.routes.0.host: 'a:80' must be a host name like"),
    (ROUTE + 'host = "a.*.b"', "gateway.routes.0.host: 'a.*.b' must be a host name like"),
    (ROUTE + 'host = "*"', "gateway.routes.0.host: '*' must be a host name like"),
    (
        ROUTE + 'headers = { Host = "a" }',
        'gateway.routes.0.headers.host: is not looked at here; write host = "…"',
    ),
    (ROUTE + 'headers = { "x a" = "1" }', "must be the name of a header field"),
    (ROUTE + 'headers = { X-A = "1", x-a = "2" }', "gateway.routes.0.headers.x-a: is there twice"),
    (ROUTE + 'rewrite = "/a/../b"', "gateway.routes.0.rewrite: '/a/../b' must not have empty elements"),
    (ROUTE + 'rewrite = "/y"\nstrip_prefix = true', "gateway.routes.0: has strip_prefix and rewrite"),
    (
        ROUTE.replace("/x", "/") + "strip_prefix = true",
        "gateway.routes.0.strip_prefix: has nothing to take off the path /",
    ),
    (ROUTE + "rate_limits = [{ limit = '1/second', by = 'users' }]", "by: must be one of 'ip', 'user'"),
    (
        ROUTE + 'request_headers = { set = { X-A = "a\\nb" } }',
        "request_headers.set.X-A: 'a\\nb' must be visible ASCII",
    ),
    (
        ROUTE + "request_headers = { sets = { X-A = 'a' } }",
        "request_headers.sets: unknown key; did you mean 'set'?",
    ),
    (ROUTE + 'policies = ["shop"]', "gateway.routes.0.policies.0: 'shop' must be an import string"),
    (ROUTE + 'accept = ["jwt"]', "gateway.routes.0.accept.0: must be one of 'token', 'api_key'"),
    (ROUTE * 2, "gateway.routes.1: /x is a route of service 'shop' already"),
    (
        (ROUTE + 'host = "a.b"\nheaders = { x-a = "1", x-b = "2" }\n')
        + (ROUTE + 'host = "A.b"\nheaders = { X-B = "2", X-A = "1" }\n'),
        "gateway.routes.1: /x is a route of service 'shop' already under the same conditions",
    ),
    (
        "[services.shop.upstream]\nbalance = 'robin'",
        "services.shop.upstream.balance: must be one of 'round_robin'",
    ),
    (
        "[services.shop.upstream]\nretrys = {}",
        "services.shop.upstream.retrys: unknown key; did you mean 'retry'?",
    ),
    (
        "[services.shop.upstream.retry]\nbudget = 101",
        "services.shop.upstream.retry.budget: 101 must be a percentage",
    ),
    (
        "[services.shop.upstream]\nhash_by = 'user'",
        'services.shop.upstream.hash_by: \'user\' must be "ip", "path"',
    ),
    ("[gateway.api_keys.ci]\nhash = 'secret'", "gateway.api_keys.ci.hash: 'secret' must be \"sha256:\""),
    ("[gateway.api_keys.ci]\nrole = 'user'", "gateway.api_keys.ci.hash: is missing"),
    (
        "[gateway.auth.providers.x]\nissuer = 'a'\njwks = 'http://a'\naudience = ['a']\nalgorithms = ['HS256']",
        "gateway.auth.providers.x.algorithms.0: must be one of 'EdDSA'",
    ),
    ("[gateway]\nmax_heads = '1KiB'", "gateway.max_heads: unknown key; did you mean 'max_head'?"),
    (
        "[gateway.routes]\npath = '/x'",
        "gateway.routes: must be an array, not a table: write [[gateway.routes]]",
    ),
    (
        "[services.far]\nurl = 'http://127.0.0.1:99999'",
        "services.far.url: 'http://127.0.0.1:99999' must have a port from 1 to 65535",
    ),
    ("[services.far]\nurl = 'http://[::1]:0/x'", "must have a port from 1 to 65535"),
    (
        "[services.far]\nurl = 'http://${HOST}:80'",
        "services.far.url: 'http://${HOST}:80' must be written out: variables are replaced in profiles and env tables only",
    ),
    ("[services.far]\ncommand = ''", "services.far.command: '' must not be empty"),
    (
        "[services.shop.upstream.retry]\nattempts = 0",
        "upstream.retry.attempts: 0 must be a whole number from 1",
    ),
    (
        "[services.shop.upstream.retry]\nstatuses = [5030]",
        "upstream.retry.statuses.0: 5030 must be a status from 400 to 599",
    ),
    (
        "[gateway.cors]\norigins = ['app.example.com']",
        "gateway.cors.origins.0: 'app.example.com' must be \"*\" or an origin",
    ),
    ("[gateway.cors]\norigins = ['https://app.example.com/path']", 'must be "*" or an origin'),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_wrong_is_refused_with_its_key(refused, text, message):
    said = refused(text)
    assert said.startswith("micro.toml: ")
    assert message in said


def test_a_wrong_variable_is_refused_by_its_name(refused):
    said = refused(environ={"MICRO_SERVICES_SHOP_UPSTREAM_BALANCE": "random"})
    assert said.startswith(
        "environment MICRO_SERVICES_SHOP_UPSTREAM_BALANCE: services.shop.upstream.balance: "
    )


@pytest.mark.parametrize(
    "more",
    [
        "exact = true\n",
        'host = "a.b"\n',
        'headers = { x-a = "1" }\n',
        'query = { a = "1" }\n',
        'methods = ["GET"]\n',
    ],
)
def test_a_path_may_have_a_route_for_each_set_of_conditions(config, more):
    assert len(config(ROUTE + ROUTE + more).gateway.routes) == 2


def test_a_route_with_conditions_leaves_the_built_in_ones_of_its_path(tmp_path):
    route = '[stack]\nbuiltin = true\n[[gateway.routes]]\npath = "/tasks"\nservice = "task"\n'
    for more, count in (("", 1), ('host = "a.b"', 2)):
        (tmp_path / "micro.toml").write_text(route + more)
        routes = read_config(tmp_path, {}).stack.gateway.routes
        assert sum(each.path == "/tasks" for each in routes) == count


def test_the_hosts_of_routes_are_known(config):
    assert config(ROUTE + 'host = "*.a.b"\n' + ROUTE).gateway.routed_hosts == ("*.a.b",)
