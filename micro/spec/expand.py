"""`${VAR}`, `${VAR:-default}` and `${file:/path}` in values of the configuration.

What a variable or a file holds is not looked into again. `$${` stands for a literal `${`. `default`, which may hold a
reference itself, is taken where the variable is unset or empty. A file's last line end is dropped; a relative path lies
below the stack's folder.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from micro.suggest import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from micro.spec.validate import Place

_LARGEST = 1 << 16
_REFERENCE = re.compile(r"\$\$\{|\$\{((?:[^{}]|\{[^{}]*\})*)\}|\$\{")
_VARIABLE = re.compile(r"(?a)([^\W\d]\w*)(?::-(.*))?\Z", re.DOTALL)


def expand(text: str, environ: Mapping[str, str], root: Path, place: Place) -> str:
    """`text` with every reference replaced.

    Raises `ConfigurationError` with the place for an unset variable, an unreadable file and a malformed reference.
    """

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        if match[1] is None:
            raise place.error(f"'{text[match.start() :][:40]}' is not closed, or holds braces in braces")
        if match[1].startswith("file:"):
            return _file(root / match[1].removeprefix("file:"), place)
        return _variable(match[1], environ, place) or expand(_default(match[1]), environ, root, place)

    return _REFERENCE.sub(replace, text)


def _variable(reference: str, environ: Mapping[str, str], place: Place) -> str:
    match = _VARIABLE.match(reference)
    if match is None:
        raise place.error(
            f"'${{{reference[:40]}}}' is not a reference; there is ${{VAR}}, ${{VAR:-default}} and ${{file:/path}}"
        )
    name, default = match.groups()
    if name not in environ and default is None:
        near = nearest(name, environ, cutoff=0.8)
        raise place.error(f"the variable {name} is not set" + (f"; did you mean {near}?" if near else ""))
    return environ.get(name, "")


def _default(reference: str) -> str:
    return reference.partition(":-")[2]


def _file(file: Path, place: Place) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise place.error(f"the file {file} is larger than 64 KiB")
        return data.decode().removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise place.error(f"the file {file} can't be read: {reason}") from error
