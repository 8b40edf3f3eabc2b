"""The one table of back ends: port and URL scheme to the class that implements it, imported when first used.

A package of your own adds a scheme by an entry point in the group `micro.backends`, named `store.myscheme`, that points
at a class made like the built-in ones: `Class(url, *, clock)` (a bus may also be given `journal=`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from micro.errors import ConfigurationError, MissingExtra
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from micro.profile import Profile
    from micro.stack import Stack

Port: TypeAlias = Literal["store", "bus", "cache"]

GROUP = "micro.backends"
"""The entry point group of third parties' back ends."""


class _Built(NamedTuple):
    target: str
    extra: str = ""


_BUILT_IN: dict[Port, dict[str, _Built]] = {
    "store": {"sqlite": _Built("micro.store.sqlite:SqliteStore")},
    "bus": {"memory": _Built("micro.bus.memory:MemoryBus")},
    "cache": {"memory": _Built("micro.cache.memory:MemoryCache")},
}

_LATER: dict[Port, tuple[str, ...]] = {"store": ("postgresql",), "bus": ("kafka",), "cache": ("redis",)}
"""Schemes that a profile may name, and that this version does not run."""

_HERE = (
    "this version runs the back ends of the dev profile only (sqlite: for store, memory: for bus and cache)"
)


def schemes(port: Port) -> frozenset[str]:
    """Every scheme that a profile may name for `port`."""
    return frozenset(_BUILT_IN[port]) | frozenset(_LATER[port]) | frozenset(_third_parties(port))


def is_known(port: Port, url: str) -> bool:
    """Whether a profile may name this scheme for `port`, run by this version or not."""
    scheme = scheme_of(url)
    return scheme in _BUILT_IN[port] or scheme in _LATER[port] or scheme in _third_parties(port)


def unknown(port: Port, url: str) -> str:
    """The sentence for a scheme that is not known, with the nearest right one."""
    scheme = scheme_of(url)
    return f"no back end for '{scheme}:'{did_you_mean(scheme, schemes(port))}"


def scheme_of(url: str) -> str:
    """What stands before the first colon."""
    return url.partition(":")[0]


def create(port: Port, url: str, **arguments: Any) -> Any:
    """A back end for `url`, constructed with `arguments` and not opened.

    Raises `ConfigurationError` for an unknown scheme (with the nearest right one) and for one that this version does
    not run; `MissingExtra` when its driver is not installed.
    """
    return backend_class(port, url)(url, **arguments)


def backend_class(port: Port, url: str) -> Any:
    """The class that `create` calls, imported. Raises as `create` does."""
    scheme = scheme_of(url)
    require_scheme(port, url)
    built = _BUILT_IN[port].get(scheme)
    if built is None:
        return _load_entry_point(port, _third_parties(port)[scheme])
    module, _, name = built.target.partition(":")
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        if built.extra and not (error.name or "").startswith("micro"):
            raise MissingExtra(f"{scheme}:", built.extra) from error
        raise


def require_scheme(port: Port, url: str) -> None:
    """Check that this version runs the scheme of `url`. Imports nothing. Raises `ConfigurationError`."""
    scheme = scheme_of(url)
    if scheme in _BUILT_IN[port] or scheme in _third_parties(port):
        return
    if scheme in _LATER[port]:
        raise ConfigurationError(f"'{scheme}:' is not part of this version; {_HERE}", key=port)
    raise ConfigurationError(unknown(port, url), key=port)


def require_supported(profile: Profile) -> None:
    """Refuse, in one sentence, what a profile may say and this version does not run; its variables need no value yet.

    Raises `ConfigurationError` with the file and the key path.
    """
    if profile.runner == "multi":
        raise profile.place("runner").error(
            '"multi" is not part of this version; it runs the back ends of the dev profile in one process, "single"'
        )
    urls: dict[Port, str] = {"store": profile.store, "bus": profile.bus, "cache": profile.cache}
    for port, url in urls.items():
        if scheme_of(url) in _LATER[port]:
            raise profile.place(port).error(f"'{scheme_of(url)}:' is not part of this version; {_HERE}")


def require_supported_members(stack: Stack) -> None:
    """Refuse the kinds of members that this version does not run. Raises `ConfigurationError` as `require_supported`."""
    for member in stack.members:
        key = "command" if member.command else "url"
        if member.command or member.url:
            raise ConfigurationError(
                "is not part of this version; it runs Python services, given by service = or app =",
                file=stack.source,
                key=f"services.{member.name}.{key}",
            )


def _third_parties(port: Port) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 # loaded when first used: 15 ms

    prefix = f"{port}."
    return {
        point.name.removeprefix(prefix): point
        for point in entry_points(group=GROUP)
        if point.name.startswith(prefix)
    }


def _load_entry_point(port: Port, point: EntryPoint) -> Any:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"the {port} back end '{point.name}' can't be loaded from {point.value}: {error}"
        ) from error
