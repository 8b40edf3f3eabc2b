"""What PostgreSQL's errors mean."""

from __future__ import annotations

import asyncpg
import pytest

from micro.errors import StoreUnavailable
from micro.store.postgres_errors import DRIVER_ERRORS, translate


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
        asyncpg.InterfaceError("the connection is closed"),
        AttributeError("'NoneType' object has no attribute 'bind_execute'"),
        asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
        asyncpg.DiskFullError("could not extend file"),
        asyncpg.InternalServerError("could not extend file: File too large"),
        asyncpg.DataCorruptedError("invalid page in block 0"),
    ],
)
def test_what_a_broken_or_full_server_causes_is_nobody_elses_fault(error):
    assert isinstance(error, DRIVER_ERRORS)
    assert isinstance(translate(error, "db"), StoreUnavailable)
