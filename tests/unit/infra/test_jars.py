"""Kafka's jars: the pinned ones and no others, downloaded once."""

from __future__ import annotations

import hashlib
import sys
from copy import copy
from pathlib import Path
from threading import Event

import pytest

from micro.errors import MissingExtra
from micro.infra.jars import AT_ONCE, DownloadFailed, Jar, cache_folder, fetch, pinned

CONTENT = b"a jar"
COORDINATE = "org.example:thing:1.0"
LIMIT = 60.0
"""Seconds after which a test stops waiting."""


def jar_of(content, coordinate=COORDINATE):
    return Jar(hashlib.sha256(content).hexdigest(), len(content), coordinate)


class Repository:
    """Stands in for the client of the public repository: serves `content` byte by byte, or fails."""

    def __init__(self, content=CONTENT, error=None):
        self.content, self.error = content, error
        self.asked = []
        self.served = lambda: None
        self.refuses = None

    def __call__(self, *, resolver, repo_cache, timeout):
        asking = copy(self)  # several threads ask at once
        asking.folder, asking.watched = Path(repo_cache), resolver.progress_callback
        return asking

    def project(self, group, artifact):
        self.names = (group, artifact)
        return self

    def at_version(self, version):
        self.version = version
        return self

    def artifact(self):
        return self

    def resolve(self):
        coordinate = ":".join((*self.names, self.version))
        self.asked.append(coordinate)
        if self.error is not None:
            raise self.error
        if coordinate == self.refuses:
            raise OSError("no route")
        path = self.folder / Jar("", 0, coordinate).path
        path.parent.mkdir(parents=True)
        with self.watched(path.name, len(self.content)) as progress, path.open("wb") as file:
            for byte in self.content:
                file.write(bytes([byte]))
                self.served()
                progress(1)
        return path


@pytest.fixture
def repository(monkeypatch):
    maven = pytest.importorskip("jgo.maven")
    serving = Repository()
    monkeypatch.setattr(maven, "MavenContext", serving)
    return serving


def test_the_pinned_list_names_the_broker_and_no_jar_twice():
    jars = pinned()
    coordinates = [jar.coordinate for jar in jars]
    assert len(set(coordinates)) == len(coordinates) > 40
    assert any(coordinate.startswith("org.apache.kafka:kafka_2.13:4.3") for coordinate in coordinates)
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in jars)


def test_what_is_missing_is_downloaded_once_with_its_progress_in_bytes(repository, tmp_path):
    told = []
    jar = jar_of(CONTENT)
    [path] = fetch([jar], tmp_path, told.append)
    assert path.read_bytes() == CONTENT
    assert path == tmp_path / "org/example/thing/1.0/thing-1.0.jar"
    assert told == ["downloading Kafka: 0.0 of 0.0 MB"] * 2, "before the first byte, and at the end"
    assert fetch([jar], tmp_path, told.append) == [path]
    assert repository.asked == [COORDINATE]
    assert len(told) == 2


def test_a_jar_that_is_not_the_pinned_one_is_refused_and_not_kept(repository, tmp_path):
    repository.content = b"evil!"
    with pytest.raises(DownloadFailed, match="SHA-256"):
        fetch([jar_of(CONTENT)], tmp_path, print)
    assert not list(tmp_path.rglob("*.jar"))


def test_a_damaged_jar_in_the_cache_is_downloaded_again(repository, tmp_path):
    jar = jar_of(CONTENT)
    (tmp_path / jar.path).parent.mkdir(parents=True)
    (tmp_path / jar.path).write_bytes(b"a j")
    assert fetch([jar], tmp_path, print)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("not found")])
def test_a_download_that_fails_says_what_else_there_is(repository, tmp_path, error):
    repository.error = error
    with pytest.raises(DownloadFailed, match="KAFKA_HOME") as caught:
        fetch([jar_of(CONTENT)], tmp_path, print)
    assert caught.value.__cause__ is error


def test_told_to_stop_it_downloads_no_further_and_leaves_nothing_half_done(repository, tmp_path):
    """A thread can't be cancelled: without that, Ctrl-C would wait until everything is there."""
    stop, jars = Event(), [jar_of(CONTENT, f"org.example:thing:{number}") for number in range(20)]
    repository.served = stop.set
    with pytest.raises(DownloadFailed, match="stopped"):
        fetch(jars, tmp_path, print, stop=stop)
    assert len(repository.asked) < len(jars)
    assert [*tmp_path.iterdir()] == []
    repository.served = lambda: None
    assert all(path.exists() for path in fetch(jars, tmp_path, print))


def test_after_a_failure_nothing_more_is_asked_for(repository, tmp_path):
    stop, bad = Event(), "org.example:bad:1"

    def served():
        """The others are still under way when the first has failed."""
        assert stop.wait(LIMIT)

    repository.served = served
    repository.refuses = bad
    jars = [jar_of(CONTENT, bad), *(jar_of(CONTENT, f"org.example:thing:{number}") for number in range(20))]
    with pytest.raises(DownloadFailed, match="no route"):
        fetch(jars, tmp_path, print, stop=stop)
    assert len(repository.asked) <= AT_ONCE + 1


def test_what_a_killed_download_has_left_is_not_taken_for_a_jar(repository, tmp_path):
    half = tmp_path / "partial-1" / jar_of(CONTENT).path
    half.parent.mkdir(parents=True)
    half.write_bytes(CONTENT[:2])
    assert fetch([jar_of(CONTENT)], tmp_path, print)[0].read_bytes() == CONTENT


def test_a_full_cache_needs_no_right_to_write_there(repository, tmp_path):
    fetch([jar_of(CONTENT)], tmp_path, print)
    before = [*tmp_path.iterdir()]
    fetch([jar_of(CONTENT)], tmp_path, print)
    assert [*tmp_path.iterdir()] == before == [tmp_path / "org"]


def test_a_cache_that_cannot_be_made_is_named(repository, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadFailed, match=r"can't be kept in .*file.cache: Not a directory"):
        fetch([jar_of(CONTENT)], tmp_path / "file" / "cache", print)


def test_without_the_extra_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(MissingExtra, match=r"microup\[infra\]"):
        fetch([jar_of(CONTENT)], tmp_path, print)


def test_the_cache_is_where_people_keep_theirs(tmp_path):
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "micro" / "jars"
    assert cache_folder({}) == Path.home() / ".cache" / "micro" / "jars"
