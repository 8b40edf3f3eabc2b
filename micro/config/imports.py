"""Imports what an import string names, and says in one sentence why it can't."""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

from micro.suggest import did_you_mean, nearest

if TYPE_CHECKING:
    from micro.spec.validate import Place


def import_target(target: str, root: Path, place: Place) -> Any:
    """The object that `target` ("shop.service:service") names.

    Raises `ConfigurationError` at `place`: no such module or name (with the nearest), or an import that fails, with the
    error's last line and the last place below `root` that it went through.
    """
    name, _, attributes = target.partition(":")
    if not name or not attributes:
        raise place.error(f'{target[:60]!r} must be an import string like "shop.service:service"')
    found: Any = _import(name, root, place)
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            names = [known for known in dir(found) if not known.startswith("_")]
            raise place.error(f"{name} has no '{attribute}'{did_you_mean(attribute, names)}")
        found = getattr(found, attribute)
    return found


def _import(name: str, root: Path, place: Place) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if f"{name}.".startswith(f"{missing}."):
            near = nearest(missing.rpartition(".")[2], _siblings(missing, root))
            hint = f"; did you mean '{near}'?" if near else f"; looked in {root} and on the Python path"
            raise place.error(f"no module '{missing}'{hint}") from error
        raise place.error(_failure(name, error, root)) from error
    except (Exception, SystemExit) as error:
        raise place.error(_failure(name, error, root)) from error


def _siblings(missing: str, root: Path) -> list[str]:
    """Names of the modules that are where the missing one was looked for."""
    parent = missing.rpartition(".")[0]
    folders = getattr(sys.modules.get(parent), "__path__", [str(root)])
    return [module.name for module in pkgutil.iter_modules(folders)]


def _failure(name: str, error: BaseException, root: Path) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    last = text.strip().rpartition("\n")[2]
    what = f"{type(error).__name__}: {last}" if last else type(error).__name__
    return f"can't import {name}: {what} ({_where(error, root)})"


def _where(error: BaseException, root: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename, root)}, line {error.lineno}"
    frames = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(root)]
    last = (own or frames)[-1]
    return f"{_short(last.filename, root)}, line {last.lineno}"


def _short(filename: str, root: Path) -> str:
    path = Path(filename)
    return str(path.relative_to(root)) if path.is_relative_to(root) else filename
