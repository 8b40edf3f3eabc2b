"""What each server is started from is looked for before anything is made, and what is missing is one sentence."""

from __future__ import annotations

import pytest

from micro.clock import SystemClock
from micro.errors import ConfigurationError, MissingExtra
from micro.infra import jars, packages
from micro.infra.kafka import Kafka
from micro.infra.postgres import Postgres
from micro.infra.valkey import Valkey

KINDS = pytest.mark.parametrize("kind", [Postgres, Valkey, Kafka])


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch):
    monkeypatch.delenv("KAFKA_HOME", raising=False)


@pytest.fixture
def make(tmp_path):
    return lambda kind, installed=None: kind(tmp_path / "state", clock=SystemClock(), installed=installed)


@KINDS
def test_with_the_extra_ours_is_found_and_nothing_made(make, kind, tmp_path):
    server = make(kind)
    server.find()
    assert server.origin == server.version
    assert not (tmp_path / "state").exists()


@KINDS
def test_without_the_extra_it_is_named(make, kind, monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'microup\[infra\]'"):
        make(kind).find()


def test_what_downloads_kafka_is_missed_only_where_it_has_to(make, monkeypatch, tmp_path):
    real = packages.find_spec
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "jgo" else real(name))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingExtra):
        make(Kafka).find()
    for jar in jars.pinned():
        path = jars.cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) / jar.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    make(Kafka).find()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Postgres, "no initdb in it; name PostgreSQL's folder, a URL, or micro for ours: --use SERVER=WHERE"),
        (Valkey, "no such program; name one, a URL, or micro for ours: --use SERVER=WHERE"),
        (
            Kafka,
            "no Kafka in it (libs/kafka*.jar); name its folder, in KAFKA_HOME or here, a URL, or micro for ours",
        ),
    ],
)
@pytest.mark.parametrize("place", ["nowhere", "empty", "file"])
def test_a_place_without_it_says_what_to_name(make, kind, sentence, place, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch(mode=0o644)
    with pytest.raises(ConfigurationError) as caught:
        make(kind, tmp_path / place).find()
    assert str(caught.value).startswith(f"{tmp_path / place}: {sentence}")


def test_a_place_with_it_is_what_is_started(make, tmp_path):
    for name in ("bin/initdb", "bin/postgres", "redis-server", "libs/kafka_2.13.jar", "libs/other.jar"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o755)
    places = {Postgres: tmp_path, Valkey: tmp_path / "redis-server", Kafka: tmp_path}
    for kind, place in places.items():
        server = make(kind, place)
        server.find()
        assert server.origin == str(place)
    assert f"{tmp_path}/libs/kafka_2.13.jar" in make(Kafka, tmp_path)._java[-1].split(":")


def test_an_installed_kafka_is_said_by_the_environment_too_relative_to_the_folder_of_the_command(
    make, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_HOME", "kafka")
    assert make(Kafka).installed == tmp_path / "kafka"
    assert make(Kafka, tmp_path).installed == tmp_path
    with pytest.raises(ConfigurationError, match="no Kafka in it"):
        make(Kafka).find()
