"""`doctor` and `version`: this machine, this folder, this program."""

from __future__ import annotations

import platform
import sqlite3
from dataclasses import asdict
from typing import TYPE_CHECKING

from micro.commands.render import state
from micro.commands.verb import DataVerb, add, flat, verb
from micro.console import style
from micro.version import __version__

if TYPE_CHECKING:
    from micro.console import Console

app = flat()


@verb
class Doctor(DataVerb):
    """Check this machine and this folder.

    Prints a line for each check and what to do about it. Exits with 1 when one fails.

    Example: micro doctor --prod
    """

    def run(self, console: Console) -> int | None:
        from micro.runtime.doctor import examine  # noqa: PLC0415 - loaded when used: `version` needs none of it

        findings = []
        for finding in examine(self.session()):
            findings.append(finding)
            if not self.json:
                console.line(f"{state(f'{finding.state:<4}')}  {finding.check:<14}  {finding.detail}")
                if finding.advice:
                    console.line(style(f"{'':<22}{finding.advice}", "dim"))
        if self.json:
            console.json({"items": [asdict(finding) for finding in findings]})
        return 1 if any(finding.state == "fail" for finding in findings) else 0


@verb
class Version(DataVerb):
    """Print the versions in use.

    Example: micro version
    """

    def run(self, console: Console) -> int | None:
        from importlib.metadata import version  # noqa: PLC0415 - loaded when used: 15 ms

        versions = {
            "micro": __version__,
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **{name: version(name) for name in ("starlette", "uvicorn", "uvloop", "msgspec")},
        }
        if self.json:
            console.json(versions)
        else:
            for name, text in versions.items():
                console.line(f"{name:<10}  {text}")
        return None


add(app, "doctor", Doctor)
add(app, "version", Version)
