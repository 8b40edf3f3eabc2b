"""Settings from environment variables: `MICRO_` and the key path in capitals, such as `MICRO_GATEWAY_PORT`.

Every key of `[gateway]` (tables in it too) and of a service (`MICRO_SERVICES_TASK_PORT`) has one, except arrays of tables
and free tables; the profile's are `MICRO_RUNNER`, `MICRO_STORE`, `MICRO_BUS` and `MICRO_CACHE`, and `MICRO_PROFILE` says
which profile. An array is written with commas. An empty variable counts as unset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin

from micro.spec.validate import Place, check_text, keys_of
from micro.suggest import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PREFIX = "MICRO_"
PROFILE = "MICRO_PROFILE"
STACK_KEY = "MICRO_STACK_KEY"
"""The stack's own signing key, where it does not lie in `.micro/keys`: see `micro.runtime.keys`."""
ADVERTISE = "MICRO_ADVERTISE"
"""The name or address by which other machines reach this one: see `micro.runtime.parts.registration`."""


class Variable(NamedTuple):
    """One variable that is known, and what it sets."""

    name: str
    path: tuple[str, ...]
    hint: Any


def variables(kind: type, path: tuple[str, ...]) -> Iterator[Variable]:
    """The variables of a dataclass's table that stands at `path`."""
    for key, hint in keys_of(kind).items():
        spot = (*path, key)
        if is_dataclass(hint):
            yield from variables(hint, spot)  # type: ignore[arg-type] # a field's type, not an instance
        elif get_origin(hint) is not Mapping and not any(is_dataclass(inner) for inner in get_args(hint)):
            yield Variable(PREFIX + "_".join(spot).upper().replace("-", "_"), spot, hint)


def profile_variables(kind: type) -> list[Variable]:
    """The variables of the chosen profile's table, which go by the key alone."""
    return list(variables(kind, ()))


def read_variables(
    known: Iterable[Variable], environ: Mapping[str, str]
) -> Iterator[tuple[Variable, Any, str]]:
    """What is set: the variable, its checked value, and its origin. Raises `ConfigurationError`."""
    for variable in known:
        text = environ.get(variable.name)
        if text:
            origin = f"environment {variable.name}"
            yield variable, check_text(text, variable.hint, Place(origin, variable.path)), origin


def misspelt(known: Iterable[str], environ: Mapping[str, str]) -> list[str]:
    """A sentence for each `MICRO_` variable that is not known and looks much like one that is."""
    names = {*known, PROFILE, STACK_KEY, ADVERTISE}
    warnings = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in names:
            near = nearest(name, names, cutoff=0.85)
            if near:
                warnings.append(f"the variable {name} sets nothing; did you mean {near}?")
    return warnings
