"""How instances of the stack know that a request comes from the stack itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.web.fields import PEER

if TYPE_CHECKING:
    from collections.abc import Callable

    from micro.gateway.headers import Pair

RENEWED = 30.0
"""Seconds for which a token is sent again, so that the other side finds it among the verified ones."""


class Proof:
    """The field that goes with every request to an instance of the stack's own services, beside its `Authorization`."""

    __slots__ = ("_field", "_sign", "_until")

    def __init__(self, sign: Callable[[], str]) -> None:
        """`sign` gives this process's service token, valid for a minute at least."""
        self._sign = sign
        self._field: Pair = (PEER, b"")
        self._until = float("-inf")

    def field(self, now: float) -> Pair:
        """Name and value; the same object as long as the value is the same."""
        if now >= self._until:
            token = self._sign().encode("ascii")
            if token != self._field[1]:
                self._field = (PEER, token)
            self._until = now + RENEWED
        return self._field
