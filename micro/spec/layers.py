"""Tables laid one over the other, with the origin of each value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from micro.spec.validate import key_path

if TYPE_CHECKING:
    from collections.abc import Mapping


class Layers:
    """What all layers say together, key by key; the later over the earlier."""

    def __init__(self) -> None:
        self.tables: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def add(self, tables: Mapping[str, Any], origin: str, *, path: tuple[str, ...] = ()) -> None:
        """Lay checked tables over what is there."""
        for key, value in tables.items():
            if isinstance(value, dict):
                self._table((*path, key))
                self.add(value, origin, path=(*path, key))
            else:
                self.put((*path, key), value, origin)

    def put(self, path: tuple[str, ...], value: Any, origin: str) -> None:
        """Set one value."""
        self._table(path[:-1])[path[-1]] = value
        self.origins[key_path(path)] = origin

    def _table(self, path: tuple[str, ...]) -> dict[str, Any]:
        table = self.tables
        for key in path:
            table = table.setdefault(key, {})
        return table


def origin_of(origins: Mapping[str, str], key: str) -> str | None:
    """Where a value comes from; for a table, where its first key does."""
    if key in origins:
        return origins[key]
    return next((origin for known, origin in origins.items() if known.startswith(f"{key}.")), None)
