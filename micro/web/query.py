"""Reads query parameters into a struct."""

from __future__ import annotations

from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec

from micro.web.faults import Fault, faults_of, pointer_to
from micro.web.problems import Problem
from micro.web.text import is_clean

T = TypeVar("T")

MAX_PARAMETERS = 100


class Query(Generic[T]):
    """Reads the query parameters of one struct type. Parameters that the struct does not have are ignored.

    Raises a 422 `Problem` with every fault: a repeated parameter, text with NUL or that is not UTF-8, a value of the
    wrong form. The pointers name the parameters: ``/limit``.
    """

    def __init__(self, type: Any) -> None:
        self.type = type

    def read(self, query_string: bytes) -> T:
        """The parameters of a raw query string."""
        values = _parse(query_string) if query_string else {}
        try:
            return msgspec.convert(values, self.type, strict=False)  # type: ignore[no-any-return] # type is T's
        except msgspec.ValidationError as error:
            raise Problem(422, errors=faults_of(values, self.type, error, strict=False)) from error


def _parse(query_string: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query_string.decode("latin-1"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError as error:
        detail = "The query is not percent-encoded UTF-8, or has more than 100 parameters."
        raise Problem(422, errors=[{"pointer": "", "detail": detail}]) from error
    values: dict[str, str] = {}
    faults: list[Fault] = []
    for name, value in pairs:
        if name in values:
            faults.append({"pointer": pointer_to("", name), "detail": "This is given more than once."})
        elif not is_clean(value):
            faults.append({"pointer": pointer_to("", name), "detail": "Text with NUL or lone surrogates."})
        values[name] = value
    if faults:
        raise Problem(422, errors=faults)
    return values
