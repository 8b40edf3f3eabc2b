"""Whatever a file says: a configuration, or a configuration error."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, time
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from micro.config.load import select
from micro.config.read import Config, read_config
from micro.errors import ConfigurationError
from micro.spec.validate import keys_of

KEYS = st.sampled_from(
    [
        *(
            "stack",
            "services",
            "gateway",
            "profiles",
            "user",
            "task",
            "dev",
            "prod",
            "x",
            "name",
            "builtin",
            "service",
        ),
        *(
            "app",
            "command",
            "url",
            "routes",
            "port",
            "health",
            "depends",
            "env",
            "host",
            "rate_limit",
            "max_body",
        ),
        *(
            "cors",
            "auth",
            "issuers",
            "origins",
            "path",
            "methods",
            "timeout",
            "store",
            "bus",
            "cache",
            "runner",
        ),
        *("replicas", "hosts", "adapter", "trusted_proxies", "", "a b", "é", "A", "__class__"),
    ]
)
TEXTS = st.sampled_from(
    [
        *(
            "single",
            "multi",
            "memory:",
            "sqlite:{service}.db",
            "${X}",
            "${",
            "{service}",
            "/x",
            "/",
            "100/minute",
            "off",
        ),
        *(
            "1MiB",
            "15s",
            "a:b",
            "user",
            "task",
            "x",
            "stack",
            "service:user",
            "http://x",
            "GET",
            "required",
            "10.0.0.0/8",
        ),
    ]
)
LEAVES = (
    TEXTS
    | st.text(max_size=10)
    | st.integers()
    | st.integers(-1, 70_000)
    | st.booleans()
    | st.floats()
    | st.just(datetime(2026, 1, 1, tzinfo=UTC))
    | st.just(date(2026, 1, 1))
    | st.just(time(1, 2))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "stack": st.dictionaries(st.sampled_from(["name", "builtin"]), VALUES) | VALUES,
        "services": st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=3) | VALUES,
        "gateway": st.dictionaries(KEYS, VALUES, max_size=4) | VALUES,
        "profiles": st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=3) | VALUES,
    },
)


def toml(value):
    """A value as TOML writes it inline."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return repr(value).replace("e", "e" if "." in repr(value) else ".0e")
        case str():
            return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{toml(key)} = {toml(inner)}' for key, inner in value.items())}}}"
        case datetime() | date() | time():
            return value.isoformat()
    return repr(value)


def document(tables):
    return "\n".join(f"{toml(key)} = {toml(value)}" for key, value in tables.items())


def read_everything(text, environ):
    """Reads a file with this text, then all that can be asked of it; `ConfigurationError` counts as an answer."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "micro.toml").write_text(text)
        config = read_config(Path(folder), environ)
        assert isinstance(config, Config)
        select(config.stack, [])
        for name in config.stack.names:
            config.service_env(name)
        for name in config.profiles:
            assert config.describe(config.profile(name))


def answers(text, environ):
    """Whether it is a configuration; anything but a configuration error is a mistake of ours."""
    try:
        read_everything(text, environ)
    except ConfigurationError as error:
        assert str(error)  # noqa: PT017 - both outcomes are right
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(SECTIONS | st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_tables_are_a_configuration_or_refused(tables):
    text = document(tables)
    tomllib.loads(text)
    answers(text, {})


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet='[]{}="\n.#ax1', max_size=60))
def test_any_text_is_a_configuration_or_refused(text):
    answers(text.encode(errors="replace").decode(), {})


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *(
                    f"MICRO_GATEWAY_{key.upper()}"
                    for key in ("host", "port", "hosts", "rate_limit", "max_body", "adapter")
                ),
                *(
                    "MICRO_STORE",
                    "MICRO_BUS",
                    "MICRO_CACHE",
                    "MICRO_RUNNER",
                    "MICRO_PROFILE",
                    "MICRO_GATEWAY_CORS_MAX_AGE",
                ),
                *("MICRO_SERVICES_TASK_PORT", "MICRO_SERVICES_TASK_APP", "MICRO_SERVICES_TASK_DEPENDS", "X"),
            ]
        ),
        TEXTS | st.text(max_size=10) | st.integers().map(str),
        max_size=5,
    )
)
def test_any_environment_is_a_configuration_or_refused(environ):
    answers("", environ)


def test_the_built_in_configuration_is_one():
    assert answers("[profiles.prod]\nstore = 'postgresql://db/{service}'", {})


def test_the_generator_knows_the_keys():
    from micro.config.read import File

    assert set(keys_of(File)) == {"stack", "services", "gateway", "profiles"}
