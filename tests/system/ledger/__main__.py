"""Runs stacks in processes forked from this one, which has loaded all code: a start costs a fork.

Takes one JSON object a line on stdin: {"folder": …, "environ": {…}, "crash": [POINT, VISIT] or null}. The stack runs as
under `micro up --json`, or dies of SIGKILL at the VISIT-th time it reaches POINT. Says on stdout, one JSON object a line,
{"pid": …}, then the report when it is ready, and {"exit": …} with the exit code when it has ended; then it takes the next.

Points are those of `micro.testing.faults`, and of parking:

| Point | What has happened |
|---|---|
| `before_park`, `after_park` | a failed event is in the table of parked events, not yet committed, or committed |
| `before_reschedule`, `after_reschedule` | the same for one that failed again |
| `before_redrive`, `after_redrive` | one was applied and taken out of the table, not yet committed, or committed |
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from micro import registry
from micro.config.read import read_config
from micro.runtime import assemble, presence, single, up  # noqa: F401 - loaded here once, for all that are forked
from micro.testing.faults import FaultyBus, FaultyJournal, FaultyStore, crash_at

PARKING = {
    "insert into micro_parked": "park",
    "update micro_parked set attempts": "reschedule",
    "delete from micro_parked": "redrive",
}


def is_about_instances(messages):
    """What the runtime itself publishes has no state to be lost with."""
    return all(message.topic == "system.events" for message in messages)


class Bus(FaultyBus):
    async def publish(self, messages):
        if is_about_instances(messages):
            return await self._inner.publish(messages)
        return await super().publish(messages)


class Journal(FaultyJournal):
    async def append(self, records):
        if is_about_instances([record.message for record in records]):
            await self._inner.append(records)
        else:
            await super().append(records)


class Parking:
    """A store that calls `at` before and after the commit of what is done to the table of parked events."""

    def __init__(self, inner, at):
        self._inner = inner
        self._at = at
        self.features, self.dialect = inner.features, inner.dialect
        self.open, self.close, self.query = inner.open, inner.close, inner.query

    @asynccontextmanager
    async def transaction(self, **options):
        async with self._inner.transaction(**options) as tx:
            watched = Watched(tx)
            yield watched
            for name in watched.names:
                self._at(f"before_{name}")
        for name in watched.names:
            self._at(f"after_{name}")


class Watched:
    """A transaction that notes which of `PARKING` it does."""

    def __init__(self, tx):
        self._tx = tx
        self.names = []
        self.query, self.script, self.at_commit = tx.query, tx.script, tx.at_commit

    async def execute(self, sql, *parameters):
        self.names += [name for start, name in PARKING.items() if sql.startswith(start)]
        return await self._tx.execute(sql, *parameters)


def faulty(at):
    """Makes back ends as the registry does, wrapped so that they call `at`."""

    def create(port, url, **arguments):
        if "journal" in arguments:
            arguments["journal"] = Journal(arguments["journal"], at)
        made = registry.create(port, url, **arguments)
        if port == "store":
            return FaultyStore(Parking(made, at), at)
        return Bus(made, at) if port == "bus" else made

    return create


def say(line):
    """Write one line at once: two processes share this stdout."""
    os.write(1, json.dumps(line).encode() + b"\n")


class Observer:
    def __init__(self, crash):
        self.crash = crash
        self.made = 0

    def ready(self, report):
        assert bool(self.made) == bool(self.crash), "nothing can crash where it should"
        say(report.as_dict())

    def stopping(self):
        pass

    def notice(self, text):
        pass


def run(folder, crash):
    config = read_config(folder, os.environ)
    observer = Observer(crash)
    if crash:
        point, visit = crash
        create = faulty(crash_at(point, visit=visit))

        def counted(*args, **arguments):
            observer.made += 1
            return create(*args, **arguments)

        assemble.assemble = partial(assemble.assemble, create=counted)
    up.up(config, config.profile(), observer=observer, options=up.UpOptions(reload=False, level="warning"))


def fork(order):
    """The process id of a child that does `order` and never returns."""
    if pid := os.fork():
        return pid
    say({"pid": os.getpid()})
    try:
        os.chdir(order["folder"])
        os.environ.update(order["environ"])
        log = os.open("stderr.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 2)
        run(Path(order["folder"]), order["crash"])
    except BaseException:  # noqa: BLE001 - whatever it is, this process is a child and must not go on
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main():
    for line in sys.stdin:
        _, status = os.waitpid(fork(json.loads(line)), 0)
        say({"exit": os.waitstatus_to_exitcode(status)})


if __name__ == "__main__":
    main()
