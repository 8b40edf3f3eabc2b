"""Which modules a service's code consists of, and how to import them anew beside the old ones.

What a module imports is read from its source when it has been loaded (a file being edited may not parse), with every
import statement in it, whatever function it stands in. Libraries and micro itself are not followed.
"""

from __future__ import annotations

import ast
import importlib
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from micro.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from types import ModuleType

    from micro.stack import Member

T = TypeVar("T")

_FRAMEWORK = "micro"
_LIBRARIES = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One service's modules: each with those that it imports, as far as they belong to the service or its neighbours."""

    imports: Mapping[str, frozenset[str]]
    files: Mapping[Path, str]
    """Which module was loaded from a file."""
    folders: frozenset[Path]
    """Where its packages lie, with all that is below them."""
    flat: frozenset[Path]
    """Where its top-level modules lie; what is below does not belong to it."""

    def reaching(self, changed: Collection[str]) -> set[str]:
        """The changed modules of this service, and those that import them, at whatever remove."""
        found = set(changed) & self.imports.keys()
        while more := {name for name, used in self.imports.items() if name not in found and used & found}:
            found |= more
        return found


def code_of(member: Member) -> Code:
    """The code of a service that is imported."""
    return _code(list(_roots(member)))


def code_behind(targets: Iterable[str]) -> Code:
    """The code that import strings name, all of which are imported."""
    return _code(list(dict.fromkeys(target.partition(":")[0] for target in targets)))


def _code(roots: list[str]) -> Code:
    own = f"{roots[0].rpartition('.')[0]}." if roots[0].startswith(f"{_FRAMEWORK}.") else None
    imports: dict[str, frozenset[str]] = {}
    waiting = roots
    while waiting:
        name = waiting.pop()
        if name not in imports and (file := _file(name, own)) is not None:
            imports[name] = frozenset(_imported(name, file))
            waiting += imports[name]
    files = {file: name for name in imports if (file := _file(name, own)) is not None}
    tops = [_top(file, name, own) for file, name in files.items()]
    return Code(
        imports={name: used & imports.keys() for name, used in imports.items()},
        files=files,
        folders=frozenset(folder for folder, below in tops if below),
        flat=frozenset(folder for folder, below in tops if not below),
    )


def import_anew(names: Collection[str], changed: Iterable[Path], load: Callable[[], T]) -> T:
    """What `load` returns once the modules in `names` have to be imported again. Where it raises, all is as before.

    Other threads that import one of them meanwhile get the new one.
    """
    before = dict(sys.modules)
    for file in changed:
        # The cache goes by whole seconds and sizes: a quick edit of the same length would not be seen.
        Path(cache_from_source(str(file))).unlink(missing_ok=True)
    importlib.invalidate_caches()
    for name in names:
        sys.modules.pop(name, None)
    try:
        return load()
    except BaseException:
        _restore(before, names)
        raise


def _restore(before: Mapping[str, ModuleType], names: Collection[str]) -> None:
    for name in [name for name in sys.modules if name not in before]:
        del sys.modules[name]
    for name in names:
        if name in before:
            sys.modules[name] = before[name]
            parent, _, child = name.rpartition(".")
            if parent in before:
                setattr(before[parent], child, before[name])


def _roots(member: Member) -> Iterator[str]:
    """The modules that the import strings of a service name."""
    module, _, attributes = (member.service or member.app or "").partition(":")
    yield module
    found: object = sys.modules[module]
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    if isinstance(found, Service) and isinstance(found.app, str):
        yield found.app.partition(":")[0]


def _file(name: str, own: str | None) -> Path | None:
    """The source of a loaded module, unless it is a library's or micro's own."""
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if path is None or not path.endswith(".py"):
        return None
    if name == _FRAMEWORK or name.startswith(f"{_FRAMEWORK}."):
        return Path(path).resolve() if own is not None and name.startswith(own) else None
    file = Path(path).resolve()
    return None if any(file.is_relative_to(folder) for folder in _LIBRARIES) else file


def _imported(name: str, file: Path) -> Iterator[str]:
    """The loaded modules that a module's source names, with the packages that they lie in."""
    with suppress(OSError, SyntaxError, ValueError):  # edited since it was loaded: the next reload sees it
        for node in ast.walk(ast.parse(file.read_bytes())):
            for found in _named(node, name, is_package=file.name == "__init__.py"):
                parts = found.split(".")
                for length in range(1, len(parts) + 1):
                    if (parent := ".".join(parts[:length])) in sys.modules:
                        yield parent


def _named(node: ast.AST, name: str, *, is_package: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = name.split(".")
        if node.level:
            above = above[: len(above) - node.level + is_package]
        base = ".".join([*(above if node.level else ()), *([node.module] if node.module else ())])
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _top(file: Path, name: str, own: str | None) -> tuple[Path, bool]:
    """The folder to watch for a module, and whether also below it."""
    depth = name.count(".") + (file.name == "__init__.py")
    if own is not None and name.startswith(own):
        depth -= own.count(".") - 1
    return (file.parents[depth - 1], True) if depth else (file.parent, False)
