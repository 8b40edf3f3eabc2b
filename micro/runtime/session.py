"""Where a command works: one folder's stack, running in another process or opened by the command itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from micro.clock import SystemClock
from micro.errors import ConfigurationError, MicroError, StackNotRunning, UsageError
from micro.runtime.client import ANSWER_TIMEOUT, RunningStack, find_stack, holder, wait_until_stopped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from micro.clock import Clock
    from micro.config.read import Config
    from micro.profile import Profile
    from micro.runtime.client import Each
    from micro.runtime.control import Verb


STATE = ".micro"
_OFFLINE = ("events.", "dlq.", "db.")
"""The verbs that this process can do by itself where no stack runs."""
_POLL = 0.05
"""Seconds between two looks for a stack that is being started."""


class Session:
    """One command's view of the stack at or above `directory`. Reads no configuration until it is asked for one.

    `flags` are key paths of the stack that the command line set, such as `{"gateway.port": 9000}`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        profile: str | None = None,
        environ: Mapping[str, str],
        flags: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.directory = directory
        self.environ = environ
        self.clock = clock or SystemClock()
        self.chosen = profile
        """The profile that the command line names."""
        self._flags = flags

    @cached_property
    def config(self) -> Config:
        """What files, environment and flags say. Raises `ConfigurationError`."""
        return self.read_config()

    def read_config(self) -> Config:
        """The same, read now."""
        from micro.config.read import read_config  # noqa: PLC0415 - loaded when first used: most verbs need the folder only

        return read_config(self.directory, self.environ, flags=self._flags)

    @cached_property
    def profile(self) -> Profile:
        """The chosen profile. Raises `ConfigurationError`."""
        return self.config.profile(self.chosen)

    @cached_property
    def runnable_profile(self) -> Profile:
        """The chosen profile, with the URLs of local servers where it wants those. Raises `ConfigurationError`."""
        if not self.profile.local:
            return self.profile
        from micro.runtime.backing import locate  # noqa: PLC0415 - for profiles that want local servers

        return locate(self.profile, self.config.stack.state, clock=self.clock)

    def local_profile(self) -> Profile:
        """The chosen profile with local servers for all that it needs servers for, whether they run or not.

        Raises `ConfigurationError`, for a profile without servers, too, and `MissingExtra`.
        """
        from micro.runtime.backing import on_local_servers, require_extras  # noqa: PLC0415 - for those who want them

        written = self.config.profile_as_written(self.chosen)
        profile = self.config.profile(self.chosen, on_local_servers(written))
        require_extras(profile, self.state, clock=self.clock)
        return profile

    @cached_property
    def state(self) -> Path:
        """The state folder. Raises `ConfigurationError` where the configuration can't be read and no stack runs.

        Found without checking the configuration: a file being edited must not keep `down` from the stack it started.
        """
        from micro.config.sources import find_source  # noqa: PLC0415 - loaded when first used, as above

        try:
            source = find_source(self.directory)
        except ConfigurationError:
            for folder in (self.directory, *self.directory.parents):
                if (folder / STATE / "run.json").exists():
                    return folder / STATE
            raise
        return (source.file.parent if source and source.file else self.directory) / STATE

    def running(self) -> RunningStack:
        """The stack that runs here. Raises `StackNotRunning`."""
        return find_stack(self.state)

    def ask(
        self,
        verb: str,
        args: Mapping[str, Any],
        *,
        each: Each | None = None,
        timeout: float | None = ANSWER_TIMEOUT,
    ) -> dict[str, Any]:
        """Have one verb done by the running stack or, where none runs and the verb can do without, by this process.

        `each` gets the items as they come; returned is the end. Arguments that are `None` are not sent. Raises
        `StackNotRunning`, and whatever the verb raises.
        """
        said = {name: value for name, value in args.items() if value is not None}
        try:
            stack = self.running()
        except StackNotRunning:
            if not self._can_do(verb):
                raise
            return asyncio.run(self._offline(verb, said, each))
        return stack.ask(verb, said, each=each, timeout=timeout)

    def token(self, subject: str, *, role: str, ttl: float, scopes: frozenset[str] = frozenset()) -> str:
        """A token signed with the stack's own key, valid for `ttl` seconds. Makes the key where there is none yet."""
        from micro.config.sources import read_dotenv  # noqa: PLC0415 - as above
        from micro.runtime.keys import StackKeys  # noqa: PLC0415 - loaded when first used

        environ = {**read_dotenv(self.state.parent, self.environ), **self.environ}
        keys = StackKeys(self.state / "keys", clock=self.clock, environ=environ)
        return keys.token(subject, role=role, ttl=ttl, scopes=scopes)

    def wait_until_stopped(self, timeout: float) -> bool:
        """Whether the stack's process ended within `timeout` seconds."""
        return wait_until_stopped(self.state, timeout)

    async def wait_until_up(self, timeout: float) -> RunningStack | None:
        """The stack that runs here, or is being started, once it can be talked to. None where none is, or its start fails.

        Raises `MicroError` when that has not happened within `timeout` seconds.
        """
        deadline = self.clock.monotonic() + timeout
        while True:
            with contextlib.suppress(StackNotRunning):
                return self.running()
            if (pid := holder(self.state)) is None:
                return None
            if self.clock.monotonic() >= deadline:
                raise MicroError(f"process {pid} is at work here, and no stack is up yet; see: micro logs")
            await self.clock.sleep(_POLL)

    async def wait_until_ready(self, timeout: float) -> dict[str, Any]:
        """The stack's health once every service is healthy, or as it is after `timeout` seconds.

        Waits for a stack that is not there yet. Raises `StackNotRunning` when it never came.
        """
        deadline = self.clock.monotonic() + timeout
        while True:
            left = deadline - self.clock.monotonic()
            try:
                return self.running().ask("wait", {"timeout": max(left, 0.0)}, timeout=max(left, 0.0) + 5)
            except StackNotRunning:
                if left <= 0:
                    raise
            await self.clock.sleep(min(_POLL, left))

    def _can_do(self, verb: str) -> bool:
        """Whether a verb needs no running stack: to follow the bus, another must be able to publish meanwhile."""
        if not verb.startswith(_OFFLINE):
            return False
        from micro.runtime.operations.offline import follows  # noqa: PLC0415 - loaded when first used

        return verb != "events.tail" or follows(self.runnable_profile)

    async def _offline(self, verb: str, args: Mapping[str, Any], each: Each | None) -> dict[str, Any]:
        from micro.runtime.operations.offline import open_offline  # noqa: PLC0415 - loaded when first used

        service = args.get("service") if verb.startswith("db.") else None
        async with open_offline(
            self.config, self.runnable_profile, verb=verb, service=service, clock=self.clock
        ) as done:
            return await perform(done, args, each)


async def perform(verb: Verb, args: Mapping[str, Any], each: Each | None) -> dict[str, Any]:
    """Do one verb in this process, as the control socket does in the running one."""
    try:
        answer = verb(**args)
    except TypeError as error:
        raise UsageError(str(error)) from error
    if not isinstance(answer, AsyncIterator):
        return await answer
    async with contextlib.aclosing(answer) as items:  # type: ignore[type-var] # a verb's iterator is a generator
        async for item in items:
            if each is not None:
                each(item)
    return {}
