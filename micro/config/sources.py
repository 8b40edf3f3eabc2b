"""Where a configuration is written: the nearest `micro.toml` or `[tool.micro]`, the built-in tables, and `.env`."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micro.errors import ConfigurationError
from micro.stack import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "micro.toml"
PROJECT = "pyproject.toml"

_LARGEST = 1 << 20
_CLEARER = {
    "Illegal character '\\n'": "the string is not closed",
    "Cannot overwrite a value": "the key is there twice",
}
"""In place of the parser's words, where those say what it met and not what is wrong."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file's tables, unchecked."""

    label: str
    """How messages call it."""
    tables: Mapping[str, Any]
    file: Path | None = None
    warnings: tuple[str, ...] = ()


def built_in() -> Source:
    """The tables of `micro/builtin.toml`, which every other source overrides."""
    return Source(BUILT_IN, read_toml(Path(__file__).parents[1] / "builtin.toml"))


def find_source(directory: Path) -> Source | None:
    """The nearest configuration at or above `directory`. Raises `ConfigurationError` for a file that can't be read."""
    for folder in (directory, *directory.parents):
        own, project = folder / FILE, folder / PROJECT
        table = _tool_table(project) if project.is_file() else None
        if os.path.lexists(own):  # a link that leads nowhere is no leave to run the built-in stack
            ignored = f"{PROJECT}: [tool.micro] is ignored, because {FILE} is beside it"
            return Source(FILE, read_toml(own), own, () if table is None else (ignored,))
        if table is not None:
            return Source(f"{PROJECT} [tool.micro]", table, project)
    return None


def read_toml(file: Path) -> dict[str, Any]:
    """A file's tables. Raises `ConfigurationError`: one sentence with file, line and column where there is one."""
    return _parse(_read(file), file)


def read_dotenv(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of `.env` in `folder`, as python-dotenv reads them; none without the file.

    `${NAME}` in a value is taken from the file's earlier lines, else from `environ`. Raises `ConfigurationError` with the
    line that isn't an assignment.
    """
    file = folder / ".env"
    if not os.path.lexists(file) or file.is_dir():  # which is a common place for Python's packages
        return {}
    import io  # noqa: PLC0415 # loaded when first used, as what follows

    from dotenv.parser import parse_stream  # noqa: PLC0415 # loaded when first used: few projects have the file
    from dotenv.variables import parse_variables  # noqa: PLC0415 # as above

    found: dict[str, str] = {}
    for line in parse_stream(io.StringIO(_decode(_read(file), file))):
        if line.error or "\0" in line.original.string:
            raise ConfigurationError(f"line {line.original.line} is not NAME=value", file=file.name)
        if line.key is not None and line.value is not None:
            scope = {**environ, **found}
            found[line.key] = "".join(atom.resolve(scope) for atom in parse_variables(line.value))
    return found


def _tool_table(project: Path) -> Any:
    data = _read(project)
    if b"micro" not in data:  # most projects' files have nothing for us, and parsing is slow
        return None
    tool = _parse(data, project).get("tool")
    return tool.get("micro") if isinstance(tool, dict) else None


def _read(file: Path) -> bytes:
    try:
        if file.is_fifo():  # opening it would wait for a writer
            raise ConfigurationError("is a pipe, not a file", file=file.name)
        with file.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigurationError(f"can't be read: {error.strerror}", file=file.name) from error
    if len(data) > _LARGEST:
        raise ConfigurationError("is larger than a megabyte", file=file.name)
    return data


def _parse(data: bytes, file: Path) -> dict[str, Any]:
    text = _decode(data, file)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        end = f"(at line {text.count(chr(10)) + 1}, column {len(text.rpartition(chr(10))[2]) + 1})"
        message = str(error).replace("(at end of document)", end)
        message = re.sub(r"\((?:'[^']*',? ?)+\)", _as_written, message)
        for words, clearer in _CLEARER.items():
            message = message.replace(words, clearer)
        raise ConfigurationError(f"is not valid TOML: {message}", file=file.name) from None
    except (RecursionError, ValueError) as error:
        # Arrays within arrays without end, and numbers longer than Python converts.
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigurationError(f"is not valid TOML: {reason}", file=file.name) from None


def _as_written(keys: re.Match[str]) -> str:
    """A path of keys that Python shows as a tuple, as TOML writes a table's."""
    names = re.findall(r"'([^']*)'", keys[0])
    return f"[{'.'.join(names)}]"


def _decode(data: bytes, file: Path) -> str:
    try:
        return data.decode("utf-8-sig")  # some editors begin a file with the mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigurationError(
            f"is not UTF-8 text (at line {line}, column {column})", file=file.name
        ) from None
