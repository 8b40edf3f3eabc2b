"""All services' OpenAPI documents in one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeAlias

from micro.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

logger = logging.getLogger("micro.gateway")

Document = dict[str, Any]

Reached: TypeAlias = "Callable[[str, str, str], str | None]"

_METHODS = frozenset({"delete", "get", "head", "options", "patch", "post", "put", "trace"})
_COMPONENTS = "#/components/"


def merged(documents: Mapping[str, Document], reach: Reached) -> Document:
    """One OpenAPI 3.1 document: what a client can reach through the gateway, with a tag for each service.

    `reach(service, method, path)` tells the path by which a client reaches an operation; others are left out. Components
    that differ but have one name are told apart by the service's name in front, equal ones are shared. The documents
    are not changed. One that is malformed is left out, which is logged.
    """
    whole, operations = _empty(), set[str]()
    for service, document in sorted(documents.items()):
        try:  # by itself, as the whole is not to have half of it
            _merge(_empty(), set(), service=service, document=document, reach=reach)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            logger.warning("the OpenAPI document of %s is malformed and left out: %s", service, error)
            continue
        _merge(whole, operations, service=service, document=document, reach=reach)
    return whole


def _empty() -> Document:
    return {
        "openapi": "3.1.0",
        "info": {"title": "micro", "version": __version__},
        "servers": [{"url": "/"}],
        "tags": [],
        "paths": {},
        "components": {},
    }


def _merge(
    whole: Document, operations: set[str], *, service: str, document: Document, reach: Reached
) -> None:
    names = _adopt(whole["components"], service, document.get("components", {}))
    tag: Document = {"name": service}
    description = document.get("info", {}).get("description")
    whole["tags"].append(tag | ({"description": description} if description else {}))
    for path, item in _reachable(document, service, reach):
        for operation in _operations(item):
            _attribute(operation, service, document, operations)
        whole["paths"].setdefault(path, {}).update(_renamed(item, names))


def _adopt(components: Document, service: str, theirs: Document) -> dict[tuple[str, str], str]:
    """Take their components over; the new name of each that had to be renamed.

    A component is shared where it is the same to the last reference, so a name that clashes renames what refers to it.
    """
    names: dict[tuple[str, str], str] = {}
    while True:
        clashing = [
            (section, name)
            for section, entries in theirs.items()
            for name, entry in entries.items()
            if (section, name) not in names
            and name in components.get(section, {})
            and components[section][name] != _renamed(entry, names)
        ]
        if not clashing:
            break
        for section, name in clashing:
            taken = components.get(section, {}).keys() | theirs[section].keys()
            names[section, name] = _free(taken, f"{service}_{name}")
    for section, entries in theirs.items():
        ours = components.setdefault(section, {})
        for name, entry in entries.items():
            ours[names.get((section, name), name)] = _renamed(entry, names)
    return names


def _free(taken: Collection[str], name: str) -> str:
    while name in taken:
        name += "_"
    return name


def _reachable(document: Document, service: str, reach: Reached) -> Iterator[tuple[str, Document]]:
    """The path items, as copies, with just the operations that are routed to the service.

    Parameters of the whole path become the operations' own: another service may share the path.
    """
    for path, item in document.get("paths", {}).items():
        found: dict[str, Document] = {}
        for key in _METHODS.intersection(item):
            outside = reach(service, key.upper(), path)
            if outside is not None:
                found.setdefault(outside, {})[key] = _copy(item[key])
        about = {key: _copy(value) for key, value in item.items() if key not in {*_METHODS, "parameters"}}
        for outside, operations in found.items():
            for operation in operations.values():
                _give_parameters(operation, item.get("parameters", []))
            yield outside, {**about, **{key: operations[key] for key in item if key in operations}}


def _operations(item: Document) -> Iterator[Document]:
    return (value for key, value in item.items() if key in _METHODS)


def _give_parameters(operation: Document, shared: list[Document]) -> None:
    own = operation.get("parameters", [])
    known = {(parameter["name"], parameter["in"]) for parameter in own if "name" in parameter}
    given = [_copy(each) for each in shared if (each.get("name"), each.get("in")) not in known]
    if given:
        operation["parameters"] = [*given, *own]


def _attribute(operation: Document, service: str, document: Document, taken: set[str]) -> None:
    """Tag an operation with its service, tell its id from others', and give it the document's own `security`."""
    operation["tags"] = [service]
    if "security" in document:
        operation.setdefault("security", _copy(document["security"]))
    name = operation.get("operationId")
    if name is not None:
        operation["operationId"] = name = f"{service}_{name}" if name in taken else name
        taken.add(name)


def _renamed(node: Any, names: Mapping[tuple[str, str], str]) -> Any:
    """A copy of a part of a document in which references, and names of security schemes, follow the renaming."""
    if isinstance(node, list):
        return [_renamed(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _renamed(value, names) for key, value in node.items()}
    if isinstance(node.get("$ref"), str):
        copy["$ref"] = _reference(node["$ref"], names)
    if isinstance(node.get("mapping"), dict):  # of a discriminator
        copy["mapping"] = {key: _reference(value, names) for key, value in node["mapping"].items()}
    if isinstance(node.get("security"), list):
        copy["security"] = [
            {names.get(("securitySchemes", name), name): scopes for name, scopes in requirement.items()}
            for requirement in node["security"]
        ]
    return copy


def _reference(reference: Any, names: Mapping[tuple[str, str], str]) -> Any:
    if not isinstance(reference, str) or not reference.startswith(_COMPONENTS):
        return reference
    section, _, rest = reference.removeprefix(_COMPONENTS).partition("/")
    name, slash, inner = rest.partition("/")
    return f"{_COMPONENTS}{section}/{names.get((section, name), name)}{slash}{inner}"


def _copy(node: Any) -> Any:
    return _renamed(node, {})
