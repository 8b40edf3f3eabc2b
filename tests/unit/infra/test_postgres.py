"""PostgreSQL's data folder: there when it is whole, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from micro.clock import SystemClock
from micro.infra.postgres import Postgres
from micro.infra.server import Record, ServerFailed

RECORD = Record(ports=[1], password="secret", version="18")
VERSION = "PG_VERSION"
"""What `initdb` writes among the first of its files."""


class Killed(BaseException):
    """The command is no more."""


class Initdb(Postgres):
    """Its `initdb` writes two files, and what stands in for `kill -9` may come between."""

    killed = False
    code = 0

    async def run(self, command, *, lock=False):
        [folder] = (Path(each.partition("=")[2]) for each in command if each.startswith("--pgdata="))
        assert not [*folder.iterdir()]  # it refuses another
        (folder / VERSION).touch()
        if self.killed:
            raise Killed
        (folder / "pg_control").touch()
        return self.code


@pytest.fixture
def server(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "initdb").touch()
    server = Initdb(tmp_path, clock=SystemClock(), installed=programs)
    server.folder.mkdir()
    return server


@pytest.fixture
def made(server):
    """`made()` prepares the server, and tells which folders and files there are then."""

    async def made():
        await server.prepare(RECORD, print)
        return sorted(str(path.relative_to(server.folder)) for path in server.folder.rglob("*"))

    return made


WHOLE = ["data", f"data/{VERSION}", "data/pg_control"]


async def test_the_data_folder_is_made_once(server, made):
    assert await made() == WHOLE
    server.killed = True
    assert await made() == WHOLE


async def test_one_that_was_killed_half_way_is_made_anew(server, made):
    """With half of a folder in its place the server would never start again."""
    server.killed = True
    with pytest.raises(Killed):
        await made()
    server.killed = False
    assert await made() == WHOLE


async def test_one_that_cannot_be_made_is_told_and_made_the_next_time(server, made):
    server.code = 1
    with pytest.raises(ServerFailed, match="initdb failed"):
        await made()
    server.code = 0
    assert await made() == WHOLE
