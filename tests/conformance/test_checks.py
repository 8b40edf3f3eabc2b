"""What servers say before a start: who they are, whether they are recent enough, and what may be done there."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from itertools import count

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest
from serving import StreamServer

from micro.bus import kafka_rights
from micro.bus.kafka import KafkaBus
from micro.bus.kafka_url import parse_url
from micro.cache.redis import RedisCache
from micro.clock import SystemClock
from micro.errors import (
    BusUnavailable,
    CacheUnavailable,
    ConfigurationError,
    DatabaseMissing,
    StoreUnavailable,
)
from micro.infra import kafka
from micro.infra.kafka import Kafka
from micro.infra.server import free_ports
from micro.store.postgres import PostgresStore

pytestmark = pytest.mark.live
_numbers = count(1)


def store_at(url):
    return PostgresStore(url, clock=SystemClock())


def bus_at(url):
    return KafkaBus(url, clock=SystemClock())


def cache_at(url):
    return RedisCache(url, clock=SystemClock())


def with_password(url, password):
    head, _, rest = url.partition("@")
    return f"{head.rpartition(':')[0]}:{password}@{rest}"


class TestPostgres:
    async def test_it_says_what_it_is_and_where_without_the_password(self, postgres_url):
        store = store_at(postgres_url)
        await store.provision()
        server, lacks, durable = await store.check()
        assert durable
        assert server.startswith("PostgreSQL 18.")
        assert server.endswith("/tests")
        assert (lacks, ":***" in server) == ("", False)

    async def test_a_missing_database_and_a_missing_schema_are_told_apart_from_an_absent_server(
        self, postgres_server
    ):
        for url in (
            postgres_server.format(service="nowhere"),
            postgres_server.format(service="postgres?schema=no"),
        ):
            with pytest.raises(DatabaseMissing, match="make it with: micro db migrate"):
                await store_at(url).check()
        with pytest.raises(StoreUnavailable, match="no server answers") as caught:
            await store_at(f"postgresql://me:s3cret@127.0.0.1:{free_ports(1)[0]}/task").check()
        assert not isinstance(caught.value, DatabaseMissing)
        assert "s3cret" not in str(caught.value)

    async def test_a_wrong_password_is_one_sentence(self, postgres_server):
        with pytest.raises(StoreUnavailable, match="the password is wrong") as caught:
            await store_at(with_password(postgres_server.format(service="postgres"), "s3cret")).check()
        assert "s3cret" not in str(caught.value)

    async def test_a_user_who_may_only_read_is_told_so(self, postgres_server):
        admin = await asyncpg.connect(postgres_server.format(service="postgres"))
        await admin.execute("create role reader login password 'r'")
        await admin.close()
        store = store_at(
            with_password(postgres_server, "r").replace("//micro:", "//reader:").format(service="postgres")
        )
        assert (await store.check()).lacks.endswith("the user may not create tables")

    async def test_two_that_make_one_database_at_the_same_time_both_find_it_made(self, postgres_server):
        url = postgres_server.format(service=f"twice_{next(_numbers)}") + "?schema=both"
        made = await asyncio.gather(*(store_at(url).provision() for _ in range(4)))
        assert True in made
        assert not await store_at(url).provision()

    async def test_a_server_that_is_set_up_to_forget_at_a_power_cut_does_not_promise_otherwise(
        self, postgres_url
    ):
        store = store_at(postgres_url)
        await store.provision()
        await store.open()
        assert store.features.survives_power_loss
        async with store.transaction() as tx:
            await tx.execute("alter database tests set synchronous_commit = 'off'")
        await store.close()
        try:
            forgetful = store_at(postgres_url)
            assert not (await forgetful.check()).durable
            await forgetful.open()
            assert not forgetful.features.survives_power_loss
        finally:
            async with forgetful.transaction() as tx:
                await tx.execute("alter database tests reset synchronous_commit")
            await forgetful.close()

    async def test_an_old_server_is_named_with_what_is_needed(self):
        async with scripted(old_postgres) as port:
            with pytest.raises(ConfigurationError, match="PostgreSQL 12 is too old; 13 or newer is needed"):
                await store_at(f"postgresql://me:x@127.0.0.1:{port}/task").check()


class TestRedis:
    async def test_it_says_what_it_is(self, redis_server):
        server, lacks, _ = await cache_at(redis_server).check()
        assert server.startswith("Valkey 9.")
        assert lacks == ""

    async def test_a_wrong_password_and_an_absent_server_are_a_sentence_each(self, redis_server):
        with pytest.raises(ConfigurationError, match="refuses the user or the password"):
            await cache_at(with_password(redis_server, "s3cret")).check()
        with pytest.raises(CacheUnavailable, match="no server answers"):
            await cache_at(f"redis://127.0.0.1:{free_ports(1)[0]}/0").check()

    async def test_a_user_who_may_not_run_scripts_is_told_so(self, redis_server):
        cache = cache_at(redis_server)
        await cache.open()
        await cache._client.execute_command(
            "ACL", "SETUSER", "reader", "on", ">r", "~*", "+@connection", "+info", "+get"
        )
        lacks = (await cache_at(with_password(redis_server, "r").replace("//:", "//reader:")).check()).lacks
        assert "the user may not do what rate limits need" in lacks
        await cache._client.execute_command("ACL", "DELUSER", "reader")
        await cache.close()

    async def test_an_old_server_is_named_with_what_is_needed(self):
        async with scripted(old_redis) as port:
            with pytest.raises(
                ConfigurationError, match=r"Redis 5\.0\.14 is too old; 6\.2 or newer is needed"
            ):
                await cache_at(f"redis://127.0.0.1:{port}/0").check()


class TestKafka:
    async def test_it_says_where_it_is_and_makes_no_topic(self, kafka_server):
        bus = bus_at(kafka_server)
        server, lacks, durable = await bus.check({"never.made": BOTH})
        assert not durable, "a single broker does not wait for its disk"
        assert server.startswith("Kafka at 127.0.0.1:")
        assert lacks == ""
        await bus.open()
        assert "never.made" not in await bus.topics()
        await bus._topics.ensure({"is.made"})
        assert (await bus.check({"is.made": BOTH})).lacks == "", "where nobody is asked, everybody may"
        await bus.close()

    async def test_a_single_broker_does_not_promise_what_a_power_cut_may_take(self, kafka_server):
        bus = bus_at(kafka_server)
        assert KafkaBus.features.survives_power_loss
        await bus.open()
        assert not bus.features.survives_power_loss
        await bus.close()

    async def test_a_wrong_password_and_absent_brokers_are_a_sentence_each(self, kafka_server):
        with pytest.raises(ConfigurationError, match="check user, password") as caught:
            await bus_at(with_password(kafka_server, "s3cret")).check({})
        assert "s3cret" not in str(caught.value)
        with pytest.raises(BusUnavailable, match="no broker answers"):
            await bus_at(f"kafka://127.0.0.1:{free_ports(1)[0]}").check({})

    async def test_rights_that_are_missing_are_named_with_their_topics(self, guarded):
        """`guest` may read one topic, write to another, see a third, and make none."""
        admin, guest = guarded
        bus = bus_at(admin)
        await bus.open()
        await bus._topics.ensure({"hidden", "readable", "writable", "seen"})
        await allow(
            admin, {"readable": READ, "writable": WRITE, "seen": DESCRIBE, "new.mine": READ, "new.": DESCRIBE}
        )
        everything = dict.fromkeys(("hidden", "readable", "writable", "seen", "new.mine", "new.other"), BOTH)
        assert (await bus_at(admin).check(everything)).lacks == ""
        assert (await bus_at(guest).check({"readable": {"read"}, "writable": {"write"}})).lacks == ""
        _, lacks, _ = await bus_at(guest).check(everything)
        assert lacks.endswith(
            ": the user may not read or write hidden, new.other, seen; write new.mine, readable; read writable; "
            "make new.mine, new.other, which are not there"
        )
        assert "new.mine" not in await bus.topics()
        await bus.close()

    async def test_brokers_that_do_not_say_rights_are_told_to_lack_none(self, guarded, monkeypatch):
        admin, guest = guarded
        bus = bus_at(admin)
        await bus.open()
        await bus._topics.ensure({"seen", "hidden"})
        await bus.close()
        await allow(admin, {"seen": DESCRIBE, "new": DESCRIBE})
        monkeypatch.setattr(kafka_rights._Question, "_CLASSES", kafka_rights._Question._CLASSES[:1])
        assert (await bus_at(guest).check({"seen": BOTH})).lacks == ""
        _, lacks, _ = await bus_at(guest).check({"seen": BOTH, "hidden": BOTH, "new": BOTH})
        assert lacks.endswith(": the user may not read or write hidden; make new, which is not there")

    async def test_old_brokers_are_named_with_what_is_needed(self):
        async with scripted(old_kafka) as port:
            with pytest.raises(ConfigurationError, match=r"too old; Kafka 2\.4 or newer is needed"):
                await bus_at(f"kafka://127.0.0.1:{port}").check({})


READ, WRITE, DESCRIBE = 3, 4, 8
"""Kafka's numbers of operations."""
BOTH = frozenset({"read", "write"})


async def allow(url, operations):
    """Let `guest` do what is said of each topic; one that ends with a dot stands for all that begin so."""
    admin = AIOKafkaAdminClient(**parse_url(url).options())
    await admin.start()
    for topic, operation in operations.items():
        pattern = 4 if topic.endswith(".") else 3
        request = CreateAclsRequest(2, topic, pattern, "User:guest", "*", operation, 3)
        [(code, text)] = (await admin._send_request(request)).creation_responses
        assert code == 0, text
    known = DescribeAclsRequest(2, None, 1, "User:guest", None, 1, 1)
    async with asyncio.timeout(60):  # the controller has them a moment before the broker
        while len((await admin._send_request(known)).resources) < len(operations):
            await SystemClock().sleep(0.01)
    await admin.close()


class Guarded(Kafka):
    """A broker that asks who may do what: `micro` everything, `guest` nothing."""

    async def prepare(self, record, tell):
        await super().prepare(record, tell)
        text = self._configuration.read_text().replace('";\n', f'" user_guest="{record.password}";\n', 1)
        more = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
        self._configuration.write_text(f"{text}{more}super.users=User:{kafka.USER};User:ANONYMOUS\n")


@pytest.fixture
async def guarded(tmp_path):
    """The URLs of one broker: for who may do everything, and for who may do nothing."""
    server = Guarded(tmp_path, clock=SystemClock())
    await server.start(lambda text: None)
    url = server.url(server.record)
    yield url, url.replace("//micro:", "//guest:")
    await server.stop()


@asynccontextmanager
async def scripted(serve):
    """The port of a server that answers as `serve(reader, writer, port)` says, until its client leaves."""

    async def served(reader, writer):
        try:
            await serve(reader, writer, server.port)
        finally:
            writer.close()

    async with StreamServer(served) as server:
        yield server.port


async def old_postgres(reader, writer, port):
    def message(kind, body):
        return kind + struct.pack("!i", len(body) + 4) + body

    while True:
        [size] = struct.unpack("!i", await reader.readexactly(4))
        [code] = struct.unpack("!i", (await reader.readexactly(size - 4))[:4])
        if code == 196608:
            break
        writer.write(b"N")
    version = b"server_version\x0012.9\x00"
    writer.write(
        message(b"R", bytes(4)) + message(b"S", version) + message(b"K", bytes(8)) + message(b"Z", b"I")
    )
    await reader.read(1)


async def old_redis(reader, writer, port):
    while True:
        parts = []
        for _ in range(int((await reader.readuntil())[1:])):
            size = int((await reader.readuntil())[1:])
            parts.append((await reader.readexactly(size + 2))[:-2].upper())
        about = b"# Server\r\nredis_version:5.0.14\r\n"
        answers = {b"PING": b"+PONG\r\n", b"INFO": b"$%d\r\n%s\r\n" % (len(about), about)}
        writer.write(answers.get(parts[0], b"+OK\r\n"))


async def old_kafka(reader, writer, port):
    """Kafka 2.3: all it says of itself is which requests it takes."""
    while True:
        [size] = struct.unpack("!i", await reader.readexactly(4))
        head = await reader.readexactly(size)
        request, _, correlation = struct.unpack("!hhi", head[:8])
        host = b"127.0.0.1"
        brokers = struct.pack("!iih", 1, 1, len(host)) + host + struct.pack("!i", port)
        versions = struct.pack("!hi", 0, 2) + struct.pack("!hhh", 18, 0, 0) + struct.pack("!hhh", 3, 0, 0)
        body = versions if request == 18 else brokers + struct.pack("!i", 0)
        writer.write(struct.pack("!ii", len(body) + 4, correlation) + body)
