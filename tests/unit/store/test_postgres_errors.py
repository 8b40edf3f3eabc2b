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


def test_an_absent_server_is_told_in_the_systems_words_not_in_the_drivers():
    refused = ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)")
    assert str(translate(refused, "h:1/task")) == "h:1/task: no server answers: Connection refused"
    several = OSError("Multiple exceptions: [Errno 111], [Errno 111]")
    assert str(translate(several, "h:1/task")).endswith(
        "no server answers: Multiple exceptions: [Errno 111], [Errno 111]"
    )
