"""The command line: the verbs there are, what stands before them, and how every ending becomes an exit code.

0: done. 1: the thing is not well. 2: misuse, which the person at the terminal can mend. 130: interrupted.
A verb's module is imported when the verb is called, never for `micro --help`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from micro.commands.verb import Verb, VerbGroup, flag, signature, verb
from micro.console import Console, OutputClosed
from micro.errors import MicroError, UsageError
from micro.suggest import did_you_mean
from micro.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


class Entry(NamedTuple):
    """Where a verb is and what one line of help says about it; a test compares it with the verb's own."""

    section: str
    module: str
    help: str


_RUN, _LOOK, _DATA, _REST = "Run", "Look", "Events and data", "Besides"

VERBS = {
    "up": Entry(_RUN, "up", "Start the stack and show what it does."),
    "down": Entry(_RUN, "stack", "Stop the running stack."),
    "wait": Entry(_RUN, "stack", "Wait until every service is healthy."),
    "restart": Entry(_RUN, "instances", "Replace the instances of a service by fresh ones."),
    "scale": Entry(_RUN, "instances", "Change how many instances of a service run."),
    "run": Entry(_RUN, "instances", "Start one more instance of a service on this machine."),
    "ps": Entry(_LOOK, "stack", "List what runs."),
    "health": Entry(_LOOK, "stack", "Show how each service is."),
    "logs": Entry(_LOOK, "logs", "Print what the services logged."),
    "routes": Entry(_LOOK, "routes", "Show where the gateway sends requests."),
    "call": Entry(_LOOK, "call", "Send one request to the running stack."),
    "token": Entry(_LOOK, "call", "Print an access token, or an API key."),
    "events": Entry(_DATA, "events", "Follow, list, publish, trace and replay events."),
    "dlq": Entry(_DATA, "dlq", "Look after dead letters."),
    "db": Entry(_DATA, "db", "Migrate the databases and look into them."),
    "infra": Entry(_DATA, "infra", "Run PostgreSQL, Redis and Kafka on this machine."),
    "profile": Entry(_REST, "profile", "Show the profiles and where their values come from."),
    "doctor": Entry(_REST, "doctor", "Check this machine and this folder."),
    "version": Entry(_REST, "doctor", "Print the versions in use."),
}
"""In the order of `micro --help`."""


class Verbs(VerbGroup):
    """The root: knows every verb's name and first line, and imports a verb when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of the help."""
        return list(VERBS)

    def find(self, name: str) -> Any:
        """The verb, imported now; nothing for an unknown one."""
        if name not in VERBS:
            return None
        module = import_module(f"micro.commands.{VERBS[name].module}")
        command: Any = typer.main.get_command(module.app)
        return getattr(command, "commands", {}).get(name, command)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The table of verbs by section, from what is known without importing any."""
        width = max(map(len, VERBS))
        for section in dict.fromkeys(entry.section for entry in VERBS.values()):
            rows = [(name.ljust(width), each.help) for name, each in VERBS.items() if each.section == section]
            with formatter.section(section):
                formatter.write_dl(rows)


@verb
class Root(Verb):
    """A whole microservice system from one command.

    Start with: micro up
    """

    version: bool = flag("--version", help="Print the version.")


def _root(ctx: typer.Context, **values: Any) -> None:
    if values["version"]:
        ctx.obj.line(f"micro {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        for line in ctx.get_help().splitlines():
            ctx.obj.line(line)


def command() -> Any:
    """The whole command line as one Typer command."""
    _root.__signature__ = signature(Root)  # type: ignore[attr-defined] # what Typer reads
    app = typer.Typer(
        cls=Verbs,
        help=Root.__doc__,
        callback=_root,
        invoke_without_command=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    return typer.main.get_command(app)


def main() -> None:
    """The `micro` command."""
    code = run(sys.argv[1:])
    if (ending := sys.modules.get("micro.runtime.ending")) is not None:
        ending.leave(code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code. Prints at most two lines about what went wrong, never a traceback."""
    console = Console()
    try:
        result = command().main(list(arguments), prog_name="micro", standalone_mode=False, obj=console)
    except OutputClosed:
        # What Python would flush at exit has no reader either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except typer.TyperException as error:
        console.error(_misuse(error))
        return 2
    except typer.Abort:
        console.error("aborted")
        return 1
    except MicroError as error:
        console.error(str(error))
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        reason = error.strerror or str(error)
        console.error(f"{error.filename}: {reason}" if error.filename else reason)
        return 1
    except Exception as error:
        if os.environ.get("MICRO_DEBUG"):
            raise
        console.error(f"{_report(error)}\nPlease report it; MICRO_DEBUG=1 shows it here.")
        return 1
    return result if isinstance(result, int) else 0


def _misuse(error: Any) -> str:
    """One sentence about a command line that Typer refused, and where its help is."""
    message = " ".join(error.format_message().split()).rstrip(".")
    if hasattr(error, "possibilities"):
        message = f"there is no option {error.option_name}{did_you_mean(error.option_name, error.possibilities or ())}"
    path = error.ctx.command_path if getattr(error, "ctx", None) else "micro"
    return f"{message[:1].lower()}{message[1:]}\nSee: {path} --help"


def _report(error: Exception) -> str:
    """Keep the traceback of a bug in a file of its own; a sentence that says where."""
    # Loaded when first used: only a bug needs them.
    import tempfile  # noqa: PLC0415 - as said above
    import traceback  # noqa: PLC0415 - as said above

    handle, path = tempfile.mkstemp(prefix="micro-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("".join(traceback.format_exception(error)))
    reason = " ".join(str(error).split())
    return f"micro failed ({type(error).__name__}: {reason:.200}); the traceback is in {path}"
