"""Finds every fault of a value against a type, where msgspec stops at the first."""

from __future__ import annotations

import re
import types
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT

from micro.web.text import is_clean, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_FAULTS = 100
MAX_VISITS = 10_000  # a hostile body must not buy more than some milliseconds

_PLACE = re.compile(r" - at `(?:key in )?\$(.*)`\Z", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_SEQUENCES = (list, set, frozenset)

Fault: TypeAlias = dict[str, str]


def faults_of(
    value: Any, type: Any, first: msgspec.ValidationError, *, strict: bool = True
) -> tuple[Fault, ...]:
    """Up to 100 faults as ``{"pointer", "detail"}``, pointers by RFC 6901; at least `first`, as msgspec said it.

    Goes into structs, lists, mappings and optional ones of these; of any other type it tells the first fault.
    """
    search = _Search(strict=strict)
    search.visit(value, type, "")
    return tuple(search.faults) or (_fault(first, "", type),)


def unclean(value: Any) -> tuple[Fault, ...]:
    """The places of strings and member names with NUL or lone surrogates, in a value parsed from JSON."""
    faults: list[Fault] = []
    _collect_unclean(value, "", faults)
    return tuple(faults)


def pointer_to(parent: str, step: str | int) -> str:
    """The JSON pointer of a member or element (RFC 6901 section 4)."""
    return f"{parent}/{printable(str(step)).replace('~', '~0').replace('/', '~1')}"


class _Search:
    __slots__ = ("faults", "strict", "visits")

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.faults: list[Fault] = []
        self.visits = 0

    def visit(self, value: Any, type: Any, pointer: str) -> None:
        self.visits += 1
        if self.visits > MAX_VISITS or len(self.faults) >= MAX_FAULTS:
            return
        before = len(self.faults)
        for child, child_type, step in self._children(value, type, pointer):
            self.visit(child, child_type, pointer_to(pointer, step))
        if len(self.faults) == before:
            self._check(value, type, pointer)

    def _check(self, value: Any, type: Any, pointer: str) -> None:
        try:
            msgspec.convert(value, type, strict=self.strict)
        except msgspec.ValidationError as error:
            self.faults.append(_fault(error, pointer, type))

    def _children(self, value: Any, type: Any, pointer: str) -> Iterable[tuple[Any, Any, str | int]]:
        if not isinstance(value, dict | list):
            return ()
        choices = _choices(type)
        if isinstance(value, list):
            items = next((get_args(c) for c in choices if get_origin(c) in _SEQUENCES), None)
            return ((item, items[0], index) for index, item in enumerate(value)) if items else ()
        structs = [choice for choice in choices if is_struct(choice)]
        if len(structs) == 1:
            return self._members(value, structs[0], pointer)
        values = next((get_args(c) for c in choices if get_origin(c) is dict), None)
        return ((item, values[1], name) for name, item in value.items()) if values else ()

    def _members(
        self, value: dict[str, Any], struct: Any, pointer: str
    ) -> Iterator[tuple[Any, Any, str | int]]:
        known = set()
        for field in msgspec.structs.fields(struct):
            known.add(field.encode_name)
            if field.encode_name in value:
                yield value[field.encode_name], field.type, field.encode_name
            elif field.default is NODEFAULT and field.default_factory is NODEFAULT:
                self._add(pointer_to(pointer, field.encode_name), "This is required.")
        if struct_class(struct).__struct_config__.forbid_unknown_fields:
            for name in value.keys() - known:
                self._add(pointer_to(pointer, name), "There is no such member.")

    def _add(self, pointer: str, detail: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append({"pointer": pointer, "detail": detail})


def struct_class(type: Any) -> Any:
    """The class of a struct type: `Items` for ``Items[User]``."""
    return get_origin(type) or type


def is_struct(type: Any) -> bool:
    """Whether `type` is a msgspec struct, generic ones with arguments included."""
    return isinstance(struct_class(type), msgspec.StructMeta)


def _choices(type: Any) -> list[Any]:
    """The members of a union, or the one type, without their annotations."""
    if get_origin(type) is Annotated:
        return _choices(get_args(type)[0])
    if get_origin(type) in {Union, types.UnionType}:
        return [choice for part in get_args(type) for choice in _choices(part)]
    return [type]


def _fault(error: msgspec.ValidationError, pointer: str, type: Any) -> Fault:
    text = str(error)
    place = _PLACE.search(text)
    if place is not None:
        text = text[: place.start()]
        for member, index in _STEP.findall(place[1]):
            pointer = pointer_to(pointer, member or index)
    if " matching regex " in text:
        # A regular expression tells people little; its type's description is written for them.
        text = f"Expected: {_description(type) or 'text of another form'}"
    return {"pointer": pointer, "detail": f"{printable(text).removesuffix('.')}."}


def _description(type: Any) -> str | None:
    for part in (type, *get_args(type)):
        for mark in getattr(part, "__metadata__", ()):
            if isinstance(mark, msgspec.Meta) and mark.description:
                return mark.description
    return None


def _collect_unclean(value: Any, pointer: str, faults: list[Fault]) -> None:
    if len(faults) >= MAX_FAULTS:
        return
    if isinstance(value, str):
        if not is_clean(value):
            faults.append({"pointer": pointer, "detail": "Text with NUL or lone surrogates."})
        return
    if isinstance(value, dict):
        for name in value:
            _collect_unclean(name, pointer_to(pointer, name), faults)
    if isinstance(value, dict | list):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            _collect_unclean(item, pointer_to(pointer, step), faults)
