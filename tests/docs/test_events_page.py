"""The reference of events shows what is really on the bus and in the databases."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest

from micro.bus import memory, memory_log, outbox
from micro.bus.codec import CONTENT_TYPE, _Wire, decode, encode
from micro.bus.delivery import Delivery, Failure, dead_letter
from micro.bus.inbox import RETENTION
from micro.bus.lease import _TTL
from micro.bus.message import Message, Partition, Record
from micro.bus.migrations import FOLDER, NAMESPACE
from micro.bus.origin import MAX_KEY
from micro.store.migrate import load_migrations, migrate
from micro.store.sqlite import SqliteStore
from micro.testing import FakeClock

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "events.md").read_text()
EXAMPLE = re.search(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[1]
MESSAGE = Message("order.events", "lamp", json.dumps(json.loads(EXAMPLE)).encode())
DAY = 86_400


def section(heading):
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


def first_cells(heading):
    return re.findall(r"^\| `([\w-]+)` \|", section(heading), re.MULTILINE)


def test_the_example_is_an_event_as_micro_writes_it():
    again = encode(decode(MESSAGE))
    assert json.loads(again.value) == json.loads(EXAMPLE)
    assert again.key == "lamp"


def test_every_member_is_explained():
    assert first_cells("An event") == list(json.loads(EXAMPLE)) == list(_Wire.__struct_fields__)


def test_every_header_is_there():
    headers = dict(encode(decode(MESSAGE)).headers)
    assert first_cells("A message") == list(headers)
    assert CONTENT_TYPE.decode() in section("A message")


def test_every_header_of_a_dead_letter_is_there():
    delivery = Delivery.of(Record(Partition("order.events", 0), 0, MESSAGE, 0.0))
    copy = dead_letter(delivery, Failure.of(ValueError("no")), subscriber="billing", attempts=2)
    assert first_cells("A dead letter's copy") == [name for name, _ in copy.headers]
    assert copy.topic == "order.events.dlq"


@pytest.fixture
async def tables(tmp_path):
    """The columns of every table that micro makes in a service's database."""
    store = SqliteStore(f"sqlite:{tmp_path}/it.db", clock=FakeClock())
    await store.open()
    await migrate(store, load_migrations(FOLDER, "sqlite"), namespace=NAMESPACE, clock=FakeClock())
    await store.close()
    database = sqlite3.connect(tmp_path / "it.db")
    names = [name for (name,) in database.execute("select name from sqlite_schema where type = 'table'")]
    found = {
        name: [row[1] for row in database.execute(f"pragma table_info({name})")]
        for name in names
        if not name.startswith("sqlite_")
    }
    database.close()
    return found


async def test_every_table_and_column_is_there(tables):
    shown = re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)
    assert sorted(shown) == sorted(tables)
    for name in shown:
        assert first_cells(f"`{name}`") == tables[name], name


@pytest.mark.parametrize(
    ("heading", "sentence"),
    [
        ("An event", f"1 to {MAX_KEY} characters"),
        ("Topics", f"{memory_log.PARTITIONS} partitions"),
        ("Topics", f"modulo {memory_log.PARTITIONS}, and records are kept for {memory_log.RETENTION / DAY:g} days"),
        ("Topics", f"{memory.MAX_BYTES:,} bytes"),
        ("`micro_outbox`", f"modulo {outbox.BUCKETS}"),
        ("`micro_lease`", f"{_TTL:g} seconds after"),
        ("`micro_inbox`", f"{RETENTION / DAY:g} days"),
    ],
)  # fmt: skip
def test_a_number_is_the_codes(heading, sentence):
    assert sentence in section(heading)
