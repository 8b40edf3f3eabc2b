"""Finds the programs that the extra `infra` installs, without importing anything of theirs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from micro.errors import ConfigurationError, MissingExtra

OURS = "micro"
"""What `--use` says for our own server, in the place of another."""
OR_ELSE = f", a URL, or {OURS} for ours: --use SERVER=WHERE"
"""How sentences end about a server of this machine that can't be used."""


def folder_of(package: str) -> Path:
    """Where a package is installed. Raises `MissingExtra`."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("micro infra", "infra")
    return Path(spec.submodule_search_locations[0])


def program(folder: Path, pattern: str, *, missing: str = "for this machine's system and processor") -> str:
    """The one program in `folder` that `pattern` finds. Raises `ConfigurationError`, which ends with `missing`."""
    found = next((path for path in sorted(folder.glob(pattern)) if path.is_file()), None)
    if found is None:
        raise ConfigurationError(f"no {Path(pattern).name} {missing}", file=folder)
    return str(found)
