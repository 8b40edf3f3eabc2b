"""The one table of back ends: port and URL scheme to the class that implements it, imported when first used.

A package of your own adds a scheme by an entry point in the group `micro.backends`, named `store.myscheme`, that points
at a class made like the built-in ones: `Class(url, *, clock)` (a bus may also be given `journal=`, a discovery is given
`stack=`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from micro.errors import ConfigurationError, MissingExtra
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


Port: TypeAlias = Literal["store", "bus", "cache", "discovery"]

GROUP = "micro.backends"
"""The entry point group of third parties' back ends."""


LOCAL = "infra:"
"""In a profile, in the place of a URL: the server of `micro infra` of the same folder, wherever it listens."""


_LOCAL_SCHEMES: dict[Port, str] = {
    "store": "postgresql",
    "bus": "kafka",
    "cache": "redis",
    "discovery": "redis",
}


class _Built(NamedTuple):
    target: str
    extra: str = ""


_BUILT_IN: dict[Port, dict[str, _Built]] = {
    "store": {
        "sqlite": _Built("micro.store.sqlite:SqliteStore"),
        "postgresql": _Built("micro.store.postgres:PostgresStore", "postgres"),
    },
    "bus": {
        "memory": _Built("micro.bus.memory:MemoryBus"),
        "kafka": _Built("micro.bus.kafka:KafkaBus", "kafka"),
    },
    "cache": {
        "memory": _Built("micro.cache.memory:MemoryCache"),
        "redis": _Built("micro.cache.redis:RedisCache", "redis"),
        "rediss": _Built("micro.cache.redis:RedisCache", "redis"),
    },
    "discovery": {  # goes by the cache's URL: see micro.runtime.parts.registration
        "static": _Built("micro.discovery.static:StaticDiscovery"),
        "redis": _Built("micro.discovery.redis:RedisDiscovery", "redis"),
        "rediss": _Built("micro.discovery.redis:RedisDiscovery", "redis"),
    },
}

_DRIVERS = {"postgres": "asyncpg", "kafka": "aiokafka", "redis": "redis"}
"""What each extra installs."""


def schemes(port: Port) -> frozenset[str]:
    """Every scheme that a profile may name for `port`."""
    return frozenset(_BUILT_IN[port]) | frozenset(_third_parties(port))


def is_known(port: Port, url: str) -> bool:
    """Whether a profile may name this scheme for `port`."""
    scheme = scheme_of(url)
    return scheme in _BUILT_IN[port] or scheme in _third_parties(port)


def is_server(port: Port, url: str) -> bool:
    """Whether a server of its own is behind `url`, which may be unexpanded. Of a third party's scheme, nobody knows."""
    scheme = scheme_of(url)
    built = _BUILT_IN[port].get(scheme)
    return bool(built.extra) if built is not None else scheme not in _third_parties(port)


def unknown(port: Port, url: str) -> str:
    """The sentence for a scheme that is not known, with the nearest right one."""
    scheme = scheme_of(url)
    return f"no back end for '{scheme}:'{did_you_mean(scheme, schemes(port))}"


def scheme_of(url: str) -> str:
    """What stands before the first colon."""
    return url.partition(":")[0]


def create(port: Port, url: str, **arguments: Any) -> Any:
    """A back end for `url`, constructed with `arguments` and not opened.

    Raises `ConfigurationError` for an unknown scheme (with the nearest right one), `MissingExtra` when its driver is not
    installed.
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


def built_in_module(port: Port, url: str) -> str | None:
    """Where micro's own back end for `url` (or for a local server) is; nothing where there is none. Imports nothing."""
    built = _BUILT_IN[port].get(_LOCAL_SCHEMES[port] if url == LOCAL else scheme_of(url))
    return None if built is None else built.target.partition(":")[0]


def missing_extra(port: Port, url: str) -> str | None:
    """The extra that brings the driver for `url` (or for a local server), where that isn't installed. Imports nothing."""
    from importlib.util import find_spec  # noqa: PLC0415 # loaded when first used

    built = _BUILT_IN[port].get(_LOCAL_SCHEMES[port] if url == LOCAL else scheme_of(url))
    if built is None or not built.extra or find_spec(_DRIVERS[built.extra]) is not None:
        return None
    return built.extra


def require_scheme(port: Port, url: str) -> None:
    """Check that there is a back end for the scheme of `url`. Imports nothing. Raises `ConfigurationError`."""
    if not is_known(port, url):
        raise ConfigurationError(unknown(port, url), key=port)


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
