"""The instances that the supervisor names and those on other machines are one set, put in force at once."""

from __future__ import annotations

from typing import Any

import pytest

from micro.runtime.parts.peers import Peers


class Each:
    def __init__(self, url: str) -> None:
        self.url = url


class Cluster:
    def __init__(self, urls: tuple[str, ...] = ()) -> None:
        self.instances = [Each(url) for url in urls]

    def update(self, urls: list[str]) -> None:
        self.instances = [Each(url) for url in dict.fromkeys(urls)]


class Remote:
    """A place in the stack, without a network."""

    def __init__(self, *, own: bool = True, urls: tuple[str, ...] = ()) -> None:
        self.own = own
        self.cluster = Cluster(urls)
        self.looked: list[set[str]] = []

    async def look(self, urls: set[str]) -> None:
        self.looked.append(urls)

    @property
    def urls(self) -> list[str]:
        return [each.url for each in self.cluster.instances]


@pytest.fixture
def remotes() -> dict[str, Any]:
    return {"task": Remote(), "user": Remote(), "far": Remote(own=False, urls=("http://far",))}


async def test_the_supervisors_come_first_and_those_elsewhere_besides(remotes: Any) -> None:
    peers = Peers(remotes, probed=False)
    await peers.tell({"task": ["a", "b"], "user": ["u"]})
    peers.found({"task": ["c"], "nobody": ["d"]})
    assert remotes["task"].urls == ["a", "b", "c"]
    assert remotes["user"].urls == ["u"]
    await peers.tell({"task": ["b"], "user": []})
    assert remotes["task"].urls == ["b", "c"]
    assert remotes["user"].urls == []
    peers.found({})
    assert remotes["task"].urls == ["b"]


async def test_a_service_that_is_given_by_url_is_left_to_the_settings(remotes: Any) -> None:
    peers = Peers(remotes, probed=False)
    await peers.tell({"far": ["elsewhere"]})
    peers.found({"far": ["elsewhere"]})
    assert remotes["far"].urls == ["http://far"]


async def test_who_is_new_is_probed_before_the_answer_and_who_is_known_is_not(remotes: Any) -> None:
    peers = Peers(remotes, probed=True)
    await peers.tell({"task": ["a"], "user": ["u"]})
    await peers.tell({"task": ["a", "b"], "user": ["u"]})
    assert remotes["task"].looked == [{"a"}, {"b"}]
    assert remotes["user"].looked == [{"u"}]


async def test_without_probes_nobody_is_asked(remotes: Any) -> None:
    await Peers(remotes, probed=False).tell({"task": ["a"]})
    assert remotes["task"].looked == []


async def test_how_many_there_are_is_known_of_gateways_too_which_are_nobody_s_upstream(remotes: Any) -> None:
    peers = Peers(remotes, probed=False)
    assert peers.count("gateway") == 0
    await peers.tell({"gateway": ["g", "h"], "task": ["a"]})
    peers.found({"gateway": ["i"]})
    assert (peers.count("gateway"), peers.count("task"), peers.count("nobody")) == (3, 1, 0)
    await peers.tell({"gateway": ["g"]})
    assert peers.count("gateway") == 2
