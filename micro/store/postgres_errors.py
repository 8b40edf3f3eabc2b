"""What PostgreSQL's errors mean here (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

from __future__ import annotations

import asyncpg

from micro.backend import said
from micro.errors import ConstraintViolation, DatabaseMissing, StoreError, StoreUnavailable, UniqueViolation

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    UnicodeEncodeError,
    AttributeError,
)
"""Everything that the driver raises. `UnicodeEncodeError` comes from binding a parameter, `AttributeError` and
`InternalClientError` from a statement whose connection was closed under it."""

_BY_STATE: dict[str, tuple[type[StoreError], str]] = {
    "23505": (UniqueViolation, ""),
    "28P01": (StoreUnavailable, "the password is wrong; check the URL of the profile's store"),
    "28000": (StoreUnavailable, "the server refuses this user; check the URL of the profile's store"),
    "3D000": (DatabaseMissing, "there is no such database; make it with: micro db migrate"),
    "25006": (StoreUnavailable, "the server takes no writes now"),
    "42501": (StoreError, "the user lacks the right"),
}
_BY_CLASS: dict[str, tuple[type[StoreError], str]] = {
    "08": (StoreUnavailable, "the connection broke"),
    "22": (ConstraintViolation, "refused"),
    "23": (ConstraintViolation, "refused"),
    "25": (StoreUnavailable, "the server ended the transaction"),
    "40": (StoreUnavailable, "another transaction was in the way; try again"),
    "53": (StoreUnavailable, "the server is short of resources"),
    "55": (StoreUnavailable, "another transaction was in the way; try again"),
    "57": (StoreUnavailable, "the server stopped the statement"),
    "58": (StoreUnavailable, "the server's system failed"),
    "XX": (StoreUnavailable, "the server failed"),  # and a file grew too large for a limit or a file system
}
_BY_TYPE: tuple[tuple[type[Exception], type[StoreError], str], ...] = (
    (asyncpg.exceptions.UnsupportedClientFeatureError, StoreError, ""),
    (asyncpg.DataError, ConstraintViolation, "a parameter has the wrong type for its column"),
    (asyncpg.ConnectionDoesNotExistError, StoreUnavailable, "the connection broke"),
    (UnicodeEncodeError, ConstraintViolation, "text with a lone surrogate can't be stored"),
    (ConnectionError, StoreUnavailable, "no server answers"),
    (OSError, StoreUnavailable, "no server answers"),
    (asyncpg.exceptions.ClientConfigurationError, StoreUnavailable, "the URL can't be used"),
    (asyncpg.InterfaceError, StoreUnavailable, "the connection is closed"),
    (asyncpg.InternalClientError, StoreUnavailable, "the connection is closed"),
    (AttributeError, StoreUnavailable, "the connection is closed"),
)


def translate(error: Exception, database: str) -> StoreError:
    """The error of ours that says what `error` (one of `DRIVER_ERRORS`) means for `database`."""
    state = getattr(error, "sqlstate", None) or ""
    found = _BY_STATE.get(state) or _BY_CLASS.get(state[:2])
    if found is None:
        found = next(
            ((kind, text) for type_, kind, text in _BY_TYPE if isinstance(error, type_)), (StoreError, "")
        )
    kind, sentence = found
    return kind(": ".join(filter(None, (database, sentence, said(error)))))
