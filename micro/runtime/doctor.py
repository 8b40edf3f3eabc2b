"""`micro doctor`: what on this machine and in this folder would keep a stack from running well, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sqlite3
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from micro import registry
from micro.clock import SystemClock
from micro.config.load import load_stack
from micro.errors import CallError, ConfigurationError, MicroError, StackNotRunning, StoreUnavailable
from micro.runtime.finding import Finding
from micro.store.sqlite_version import SOUND, dotted, library_warning, require_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from micro.config.read import Config
    from micro.runtime.session import Session
    from micro.stack import Member

ENOUGH_FILES = 1024
"""File descriptors: one a connection, and some for databases and logs."""


def examine(session: Session) -> Iterator[Finding]:
    """Check everything, one finding after the other. Changes nothing, and never raises for what it finds."""
    machine = os.uname()
    yield Finding("python", "ok", f"{sys.version.split()[0]} ({machine.sysname} {machine.machine})")
    yield check_sqlite()
    yield check_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for name, check in _STAGES.items():
        try:
            yield check(session)
        except MicroError as error:
            yield Finding(name, "fail", str(error), "mend it, then look again: micro doctor")
            break
    else:
        yield from _check_servers(session)
    yield from _check_running(session)


def check_sqlite() -> Finding:
    """Whether SQLite has what the store uses, and is one without the WAL reset bug."""
    advice = f"use a Python that comes with SQLite {dotted(SOUND)} or later"
    try:
        require_library()
    except StoreUnavailable as error:
        return Finding("sqlite", "fail", str(error), advice)
    if warning := library_warning():
        return Finding("sqlite", "warn", warning, advice)
    return Finding("sqlite", "ok", sqlite3.sqlite_version)


def check_files(limit: int) -> Finding:
    """Whether enough files may be open at a time."""
    if limit == resource.RLIM_INFINITY or limit >= ENOUGH_FILES:
        return Finding(
            "open files", "ok", "no limit" if limit == resource.RLIM_INFINITY else f"up to {limit}"
        )
    return Finding("open files", "warn", f"only {limit} at a time", f"run: ulimit -n {ENOUGH_FILES * 4}")


def check_folder(state: Path) -> Finding:
    """Whether the state folder can be made, or written to where it exists."""
    existing = next(folder for folder in (state, *state.parents) if folder.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Finding("state folder", "ok", str(state))
    return Finding(
        "state folder", "fail", f"{existing} can't be written to", "mend its owner and mode, or use -C DIR"
    )


def check_port(owner: str, host: str, port: int) -> Finding:
    """Whether nobody listens on an address of the stack."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            advice = f"stop what uses it (lsof -i :{port}), or choose another port in micro.toml"
            return Finding(f"port {port}", "fail", f"{owner}: {host}:{port}: {error.strerror}", advice)
    return Finding(f"port {port}", "ok", f"free for {owner}")


def _check_configuration(session: Session) -> Finding:
    config = session.config
    where = str(config.stack.file or "built-in stack")
    if config.warnings:
        return Finding(
            "configuration", "warn", f"{where}: {config.warnings[0]}", "; ".join(config.warnings[1:])
        )
    return Finding("configuration", "ok", where)


def _check_backends(session: Session) -> Finding:
    profile = session.runnable_profile
    urls: dict[registry.Port, str] = {"store": profile.store, "bus": profile.bus, "cache": profile.cache}
    for port, url in urls.items():
        registry.backend_class(port, url)
    schemes = ", ".join(f"{port} {registry.scheme_of(url)}" for port, url in urls.items())
    return Finding("back ends", "ok", f"profile {profile.name}: {schemes}")


def _check_services(session: Session) -> Finding:
    members = load_stack(session.config.stack).stack.members
    return Finding("services", "ok", ", ".join(member.name for member in members) or "none")


def _check_servers(session: Session) -> list[Finding]:
    """The lines that a start prints of the servers of its profile."""
    profile = session.runnable_profile
    if not profile.servers:
        return []
    from micro.runtime.preflight import Preflight  # noqa: PLC0415 - for profiles with servers only

    return asyncio.run(Preflight(profile, load_stack(session.config.stack), clock=session.clock).run())


_STAGES: dict[str, Callable[[Session], Finding]] = {
    "configuration": _check_configuration,
    "state folder": lambda session: check_folder(session.state),
    "back ends": _check_backends,
    "services": _check_services,
}
"""Each needs the one before."""


def _check_running(session: Session) -> Iterator[Finding]:
    try:
        running = session.running()
        status = running.ask("health", {})["status"]
    except StackNotRunning:
        yield Finding("running stack", "ok", "none")
        yield from _check_ports(session)
        yield from _check_members(session)
    except ConfigurationError:
        return  # told already
    except CallError as error:
        yield Finding("running stack", "fail", str(error), "stop its process, then: micro up")
    else:
        well = status == "healthy"
        advice = "" if well else "see: micro health, micro logs"
        yield Finding("running stack", "ok" if well else "fail", f"process {running.pid}, {status}", advice)
        yield from _check_members(session)


def _check_ports(session: Session) -> Iterator[Finding]:
    try:
        stack = load_stack(session.config.stack).stack
    except MicroError:
        return  # told already
    ports = {"gateway": stack.gateway.port, **{member.name: member.port for member in stack.members}}
    for owner, port in ports.items():
        if port is not None:
            yield check_port(owner, stack.gateway.host, port)


def _check_members(session: Session) -> Iterator[Finding]:
    """The members that are not Python code of this stack: programs that must be there, servers that must answer."""
    try:
        stack = load_stack(session.config.stack).stack
    except MicroError:
        return  # told already
    for member in stack.members:
        if member.command:
            yield _check_command(member, session.config)
        for url in member.url or ():
            yield _check_url(member, url, stack.root)


def _check_command(member: Member, config: Config) -> Finding:
    from micro.runtime.programs.command import launch_of  # noqa: PLC0415 - for stacks that have such members

    check = f"service {member.name}"
    try:
        launch = launch_of(member, config.stack, env=config.service_env(member.name), grace=0.0)
    except ConfigurationError as error:
        return Finding(check, "fail", str(error), f"mend command under [services.{member.name}]")
    return Finding(check, "ok", launch.command[0])


def _check_url(member: Member, url: str, root: Path) -> Finding:
    check = f"service {member.name}"
    asked = f"{url}: GET {member.health}"
    if reason := asyncio.run(_reason_against(replace(member, url=(url,)), root)):
        return Finding(check, "warn", f"{asked}: {reason}", "start it, or mend url or health in micro.toml")
    return Finding(check, "ok", f"{asked} is answered")


async def _reason_against(member: Member, root: Path) -> str:
    """Why the only instance of a member is not well; empty where it is."""
    from micro.gateway.deadlines import Wheel  # noqa: PLC0415 - for stacks that have such members
    from micro.runtime.remote import Remote  # noqa: PLC0415 - as above
    from micro.telemetry.metrics import Metrics  # noqa: PLC0415 - as above

    wheel = Wheel(SystemClock())
    remote = Remote(member, root=root, wheel=wheel, metrics=Metrics(), announce=lambda *_: None)
    try:
        await remote.look()
        return remote.cluster.instances[0].reason
    finally:
        await remote.close()
        await wheel.close()
