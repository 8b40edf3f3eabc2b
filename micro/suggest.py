"""The nearest right name, for messages about a wrong one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 80


def nearest(word: str, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The name most like `word`, or nothing where none is alike."""
    from difflib import get_close_matches  # noqa: PLC0415 # loaded when first used: only a mistake needs it

    if len(word) > _LONGEST:
        return None
    return next(iter(get_close_matches(word, sorted(names), n=1, cutoff=cutoff)), None)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?`, else what there is to choose from, to end a sentence with."""
    known = sorted(names)
    found = nearest(word, known)
    if found is not None:
        return f"; did you mean '{found}'?"
    if not known:
        return ""
    return f"; there is {', '.join(known[:12])}{', …' if len(known) > 12 else ''}"
