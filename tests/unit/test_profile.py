"""Profiles: chosen, overridden, expanded, checked as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from micro.config.read import read_config
from micro.errors import ConfigurationError

PROD = """
[profiles.prod]
store = "postgresql://${PGUSER}:${PGPASSWORD}@db/{service}"
bus = "kafka://broker:9092"
cache = "redis://cache:6379/0"
replicas = { task = 2 }
"""


@pytest.fixture
def profile(tmp_path):
    """Reads a profile from the text of a `micro.toml`."""

    def read(text="", name=None, environ=None, **flags):
        (tmp_path / "micro.toml").write_text(text)
        return read_config(tmp_path, environ or {}).profile(name, flags)

    return read


@pytest.fixture
def refused(profile):
    """The message with which a profile is refused."""

    def message(*arguments, **options):
        with pytest.raises(ConfigurationError) as caught:
            profile(*arguments, **options)
        return str(caught.value)

    return message


def test_the_dev_profile_is_the_default(profile):
    found = profile()
    assert (found.name, found.runner, found.bus, found.cache) == ("dev", "single", "memory:", "memory:")
    assert set(found.origins.values()) == {"built-in"}


def test_a_variable_chooses_the_profile_and_an_argument_wins_over_it(profile):
    text = "[profiles.ci]\nrunner = 'single'\nstore = 'sqlite:ci/{service}.db'\nbus = 'memory:'\ncache = 'memory:'"
    assert profile(text, environ={"MICRO_PROFILE": "ci"}).name == "ci"
    assert profile(text, "dev", {"MICRO_PROFILE": "ci"}).name == "dev"


def test_an_unknown_profile_is_refused_with_the_nearest(refused):
    assert refused(name="prd") == "flag: profile: no profile 'prd'; did you mean 'prod'?"
    assert refused(environ={"MICRO_PROFILE": "x"}) == (
        "environment MICRO_PROFILE: profile: no profile 'x'; there is dev, prod"
    )


def test_a_flag_wins_over_a_variable_and_that_over_the_file(profile):
    text = "[profiles.dev]\nstore = 'sqlite:a/{service}.db'\ncache = 'memory:'"
    environ = {"MICRO_STORE": "sqlite:b/{service}.db", "MICRO_BUS": "memory:"}
    found = profile(text, environ=environ, store="sqlite:c/{service}.db", bus=None)
    assert found.store == "sqlite:c/{service}.db"
    assert found.origins == {
        "runner": "built-in",
        "store": "flag",
        "bus": "environment MICRO_BUS",
        "cache": "micro.toml",
    }


@pytest.mark.parametrize("url", ["redis://:s3cr3t word@h", "redis//:s3cr3t@h", "s3cr3t", "://:s3cr3t@h"])
def test_a_url_that_cannot_be_read_is_not_shown(refused, url):
    """Nobody can tell where its password is."""
    message = refused(name="prod", environ={"MICRO_CACHE": url})
    assert message.startswith("environment MICRO_CACHE: cache: must be a URL like")
    assert "s3cr3t" not in message


def test_the_gateway_has_workers_as_a_service_has_instances(profile):
    """Several of them are no matter of the store: they have none."""
    found = profile(
        "[profiles.many]\nrunner = 'multi'\nstore = 'sqlite:a/{service}.db'\nbus = 'kafka://b'\ncache = 'redis://c'\n"
        "replicas = { gateway = 3 }",
        "many",
    )
    assert (found.replicas_of("gateway"), found.replicas_of("task")) == (3, 1)
    assert profile().replicas_of("gateway") == 1


def test_the_variables_of_the_chosen_profile_are_expanded(profile):
    found = profile(PROD, "prod", {"PGUSER": "me", "PGPASSWORD": "p{x}w"})
    assert found.store == "postgresql://me:p{x}w@db/{service}"
    assert found.store_url("task", Path("/srv")) == "postgresql://me:p{x}w@db/task"
    assert (found.replicas_of("task"), found.replicas_of("user")) == (2, 1)


def test_the_variables_of_other_profiles_are_left_alone(profile):
    assert profile(PROD).name == "dev"


def test_an_unset_variable_is_refused_with_its_place(refused):
    assert refused(PROD, "prod", {"PGUSER": "me"}) == (
        "micro.toml: profiles.prod.store: the variable PGPASSWORD is not set"
    )


def test_the_built_in_prod_profile_takes_the_local_servers_unless_told_where_others_are(profile):
    found = profile(name="prod")
    assert (found.runner, found.local, found.servers) == ("multi", ("store", "bus", "cache"), found.local)
    told = profile(
        name="prod", environ={"MICRO_STORE": "postgresql://db/{service}", "MICRO_BUS": "kafka://b"}
    )
    assert (told.store, told.bus, told.local) == ("postgresql://db/{service}", "kafka://b", ("cache",))


def test_local_servers_are_filled_in_where_they_are_known_and_say_where_they_come_from(profile):
    found = profile(name="prod", environ={"MICRO_BUS": "kafka://b"})
    located = found.located({"store": "postgresql://x/{service}", "bus": "kafka://other"})
    assert (located.store, located.bus, located.local) == (
        "postgresql://x/{service}",
        "kafka://b",
        ("cache",),
    )
    assert located.place("store").file == "micro infra"
    assert located.place("bus").file == "environment MICRO_BUS"


def test_a_profile_of_this_process_alone_has_no_servers(profile):
    assert profile().servers == ()


@pytest.mark.parametrize(
    ("store", "url"),
    [
        ("sqlite:.micro/{service}.db", "sqlite:/srv/.micro/task.db"),
        ("sqlite:/data/{service}.db", "sqlite:/data/task.db"),
    ],
)
def test_a_sqlite_file_lies_below_the_stacks_folder(profile, store, url):
    assert profile(store=store).store_url("task", Path("/srv")) == url


def test_one_schema_for_each_service_is_a_database_of_its_own(profile):
    found = profile(name="prod", environ={"PGPASSWORD": "x"}, store="postgresql://db/all?schema={service}")
    assert found.store_url("task", Path("/")) == "postgresql://db/all?schema=task"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("runner = 'singel'", "runner: must be one of 'single', 'multi'; did you mean 'single'?"),
        ("stor = 'x'", "stor: unknown key; did you mean 'store'?"),
        ("origins = {}", "origins: unknown key"),
        ("store = 'x'", "store: must be a URL like"),
        ("store = 'sqlight:{service}.db'", "store: no back end for 'sqlight:'; did you mean 'sqlite'?"),
        ("store = 'memory:{service}'", "store: no back end for 'memory:'; there is postgresql, sqlite"),
        ("store = 'sqlite:micro.db'", "store: must hold {service}: every service has a database of its own"),
        ("store = 'sqlite:{name}.db'", "store: {name}: only {service} is replaced"),
        ("store = 'sqlite::memory:{service}'", "store: must name a file"),
        ("bus = 'memory:{service}'", "bus: {service}: nothing in braces is replaced here"),
        ("bus = '${BUS:-nats://x}'", "bus: no back end for 'nats:'; there is kafka, memory"),
        ("cache = '${'", "cache: '${' is not closed"),
        ("replicas = { tsk = 1 }", "replicas.tsk: no service 'tsk'; did you mean 'task'?"),
        ("replicas = { gatewy = 2 }", "replicas.gatewy: no service 'gatewy'; did you mean 'gateway'?"),
        ("replicas = { gateway = 2 }", 'replicas.gateway: runner = "single" runs one instance'),
        ("replicas = { task = 0 }", "replicas.task: must be at least 1"),
        ("replicas = { task = -1 }", "replicas.task: -1 must be a whole number"),
        ("replicas = { task = 2 }", 'replicas.task: runner = "single" runs one instance of each service'),
        ("replicas = { task = '2' }", "replicas.task: must be an integer, not a string"),
        ("runner = 'multi'", 'bus: several processes can\'t share "memory:"; the runner is "multi"'),
        ("runner = 'multi'\nbus = 'kafka://b'", 'cache: several processes can\'t share "memory:"'),
        (
            "runner = 'multi'\nbus = 'kafka://b'\ncache = 'redis://c'\nreplicas = { task = 2 }",
            "replicas.task: several instances can't share one SQLite file",
        ),
    ],
)
def test_a_wrong_profile_is_refused_with_file_and_key_path(refused, table, message):
    said = refused(f"[profiles.dev]\n{table}")
    assert f": profiles.dev.{message}" in said


def test_a_profile_of_ones_own_states_everything(refused):
    assert refused("[profiles.ci]", "ci") == "micro.toml: profiles.ci.runner: is missing"
    assert refused("[profiles.ci]\nrunner = 'single'", "ci") == "micro.toml: profiles.ci.store: is missing"


def test_a_password_never_reaches_a_message(refused):
    said = refused("[profiles.dev]\nstore = 'sql ite://me:hunter2@{service}'")
    assert "hunter2" not in said


def test_a_flag_for_one_start_does_not_stay(tmp_path):
    (tmp_path / "micro.toml").write_text(PROD)
    config = read_config(tmp_path, {"PGUSER": "me", "PGPASSWORD": "x"})
    assert config.profile("prod", {"replicas": {"user": 3}}).replicas == {"task": 2, "user": 3}
    assert config.profile("prod").replicas == {"task": 2}


def test_the_whole_url_may_be_a_variable_with_a_default(profile):
    text = "[profiles.dev]\nstore = '${STORE:-sqlite:.micro/{service}.db}'"
    assert profile(text).store == "sqlite:.micro/{service}.db"
    assert profile(text, environ={"STORE": "sqlite:/x/{service}"}).store == "sqlite:/x/{service}"
