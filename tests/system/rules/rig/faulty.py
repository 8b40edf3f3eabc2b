"""A policy that fails."""

from __future__ import annotations


class Faulty:
    """Raises what has to stay inside."""

    def on_request(self, exchange):
        raise RuntimeError("secret")

    def __str__(self):
        return "faulty: raises"
