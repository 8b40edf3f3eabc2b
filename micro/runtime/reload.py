"""Reload: an edit to a service's code replaces that service, while the others, the bus and open connections go on.

The new one is imported, migrated and started before the old one is touched; where any of that fails, the old one stays
and the reason is shown. Requests in the old one are answered by it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.config.load import load_service
from micro.errors import MicroError
from micro.runtime.assemble import build_instance
from micro.runtime.databases import bring_up_to_date
from micro.runtime.extensions import ExtensionCode, outcome
from micro.runtime.modules import Code, code_of, import_anew
from micro.runtime.stop import completes
from micro.runtime.undertaking import Undertakings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from micro.gateway.upstream.local import Generation
    from micro.runtime.instance import Instance
    from micro.runtime.settings import Settings
    from micro.runtime.system import Hosted, System
    from micro.service import Service

_log = logging.getLogger("micro.runtime.reload")

_GRACE = 5.0
"""Seconds that the old instance gets to finish the events it has in hand."""


class Reloader:
    """Replaces services by what their code says now. One reload at a time."""

    def __init__(self, system: System, settings: Settings, notice: Callable[[str], None]) -> None:
        self._system = system
        self._settings = settings
        self._notice = notice
        self._turn = asyncio.Lock()
        self._undertakings = Undertakings()
        self._over = asyncio.Event()
        self._broken: set[str] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._loaded = system.loaded
        self.codes: dict[str, Code] = {}
        """Per service, the code that was loaded last."""
        self._extensions = ExtensionCode(system.gateway)

    async def survey(self) -> None:
        """Find out what code the services consist of. Off the event loop: it reads every file."""
        members = [hosted.member for hosted in self._system.services.values()]
        found = await asyncio.gather(*(asyncio.to_thread(code_of, member) for member in members))
        self.codes = {member.name: code for member, code in zip(members, found, strict=True)}

    def users_of(self, files: Collection[Path]) -> list[str]:
        """The services whose code is in one of these files, in their order; migrations count as code."""
        return [
            name
            for name, code in self.codes.items()
            if any(file in code.files or self._is_migration(name, file) for file in files)
        ]

    def concerns(self, file: Path) -> bool:
        """Whether an edit to this file can change a service: its own code, or what kept it from being reloaded."""
        return bool(self._broken or self.users_of([file]) or self._extensions.concerns([file]))

    def missed(self) -> list[Path]:
        """The files of services and extensions that were edited after they were loaded. Asks the disk for each."""
        codes = (*self.codes.values(), self._extensions.code)
        files = {file for code in codes for file in code.files}
        return [file for file in files if file.exists() and file.stat().st_mtime > self._loaded]

    def folders(self) -> tuple[frozenset[Path], frozenset[Path]]:
        """Where the code lies, extensions' too: folders with everything below, and folders for their own files only."""
        codes = (*self.codes.values(), self._extensions.code)
        migrations = [hosted.service.migrations for hosted in self._system.services.values()]
        deep = frozenset(Path(folder).resolve() for folder in migrations if folder).union(
            *(each.folders for each in codes)
        )
        return deep, frozenset[Path]().union(*(each.flat for each in codes))

    async def edited(self, files: Collection[Path]) -> None:
        """Reload who uses these files, and whose last reload failed. Tells what became of it."""
        names = self.users_of(files)
        extends = self._extensions.concerns(files)
        renewed: set[str] = set()
        if names or self._broken:
            done = await self.reload([name for name in self.codes if name in {*names, *self._broken}], files)
            renewed = {module for name in done["reloaded"] for module in self.codes[name].imports}
        if extends:
            self._loaded = self._system.shared.clock.now().timestamp()
            self._notice(outcome(self._extensions, files, renewed=renewed))
        elif not names and not self._broken:
            self._notice(f"{_listed(files)}: no service imports it; restart needed where it matters")

    async def reload(self, names: Collection[str], files: Collection[Path] = ()) -> dict[str, Any]:
        """Load these services anew: `{"reloaded": […], "errors": […]}`. Those that fail run on as they were.

        Goes on where whoever asked for it goes away. Raises `MicroError` where this is closed before it is done.
        """
        return await self._undertakings.finish(self._reload(names, files))

    async def _reload(self, names: Collection[str], files: Collection[Path]) -> dict[str, Any]:
        async with self._turn:
            if not self.codes:
                await self.survey()
            clock = self._system.shared.clock
            began, self._loaded = clock.monotonic(), clock.now().timestamp()
            done, errors = await self._renew(names, files)
            self._broken = (self._broken | set(names)) - set(done)
            if done:
                gc.unfreeze()  # the old code is garbage once its last request is answered
                errors += self._settings.follow_services()
                await self.survey()
                seconds = clock.monotonic() - began
                reason = f": {_listed(files)}" if files else ""
                self._notice(f"reloaded {', '.join(done)} in {seconds:.2f} s{reason}")
            for error in errors:
                self._notice(error)
            return {"reloaded": done, "errors": errors}

    async def close(self) -> None:
        """End what is being reloaded, and shut old instances down without waiting for their requests. Idempotent.

        Where this is cancelled, their shutdowns are cut off.
        """
        self._over.set()
        await asyncio.gather(self._undertakings.close(), *self._retiring, return_exceptions=True)

    async def _renew(self, names: Collection[str], files: Collection[Path]) -> tuple[list[str], list[str]]:
        done: list[str] = []
        try:
            services = await asyncio.to_thread(self._import, names, files)
        except MicroError as error:
            return [], [f"{', '.join(names)}: not reloaded, the old code runs on: {error}"]
        errors = []
        for name in names:
            try:
                await self._replace(self._system.services[name], services[name])
                done.append(name)
            except MicroError as error:
                errors.append(f"{name}: not reloaded, the old code runs on: {error}")
        return done, errors

    def _import(self, names: Collection[str], files: Collection[Path]) -> dict[str, Service]:
        """In a thread: all of these services anew, or none."""
        members = [self._system.services[name].member for name in names]
        changed = {code.files[file] for code in self.codes.values() for file in files if file in code.files}
        stale = set().union(*(self.codes[name].reaching(changed) for name in names), *map(self._own, names))
        load = partial(load_service, stack=self._system.shared.stack)
        return import_anew(stale, files, lambda: {member.name: load(member) for member in members})

    def _own(self, name: str) -> set[str]:
        """The modules that no other service has: they may know each other, so they are loaded together."""
        others = (code.imports.keys() for other, code in self.codes.items() if other != name)
        return set(self.codes[name].imports).difference(*others)

    async def _replace(self, hosted: Hosted, service: Service) -> None:
        shared = self._system.shared
        fresh = build_instance(shared, service, hosted.store)
        if hosted.store is not None:
            await bring_up_to_date(service, hosted.store, shared.clock)
        await fresh.start()
        old = hosted.instance
        try:
            await old.rest(_GRACE)
        except asyncio.CancelledError:
            await fresh.stop()  # nobody else knows it yet
            raise
        hosted.instance = fresh
        hosted.reloads += 1
        hosted.started = shared.clock.monotonic()
        fresh.work()
        retiring = self._retire(old, hosted.upstream.replace(fresh))
        task = asyncio.create_task(retiring, name=f"end of {old.name}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, old: Instance, requests: Generation) -> None:
        await completes(requests.drained(), unless=self._over)
        await old.stop()

    def _is_migration(self, name: str, file: Path) -> bool:
        folder = self._system.services[name].service.migrations
        return folder is not None and file.suffix == ".sql" and file.parent == Path(folder).resolve()


def _listed(files: Iterable[Path]) -> str:
    names = sorted(file.name for file in files)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
