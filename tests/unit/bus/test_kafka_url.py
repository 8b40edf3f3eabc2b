"""What a `kafka:` URL says, and what it can't say."""

from __future__ import annotations

import ssl

import pytest

from micro.bus.kafka_url import parse_url
from micro.errors import ConfigurationError


def test_a_broker_alone_is_enough():
    address = parse_url("kafka://broker")
    assert address.brokers == "broker:9092"
    assert address.options() == {
        "bootstrap_servers": "broker:9092",
        "client_id": "micro",
        "request_timeout_ms": 10_000,
        "security_protocol": "PLAINTEXT",
    }
    assert (address.partitions, address.replication, address.keep_days) == (12, 0, 7)


def test_several_brokers_keep_their_ports():
    address = parse_url("kafka://one:1111,two,three:3333")
    assert address.brokers == "one:1111,two:9092,three:3333"
    assert address.hosts() == [("one", 1111), ("two", 9092), ("three", 3333)]


def test_with_a_user_the_connection_is_encrypted_unless_said():
    options = parse_url("kafka://ann:s%40crét%2F@broker").options()
    assert options["security_protocol"] == "SASL_SSL"
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == ("PLAIN", "ann")
    assert options["sasl_plain_password"] == "s@crét/"
    assert isinstance(options["ssl_context"], ssl.SSLContext)
    plain = parse_url("kafka://ann:x@broker?security=sasl_plaintext&mechanism=SCRAM-SHA-512").options()
    assert (plain["security_protocol"], plain["sasl_mechanism"]) == ("SASL_PLAINTEXT", "SCRAM-SHA-512")
    assert "ssl_context" not in plain


def test_topics_are_made_as_the_url_says():
    address = parse_url("kafka://b?partitions=3&replication=2&keep_days=30")
    assert (address.partitions, address.replication, address.keep_days) == (3, 2, 30)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("kafka://", "names no broker"),
        ("kafka://b?partition=3", "unknown option partition"),
        ("kafka://b?security=tls", "security=tls: write one of plaintext, ssl"),
        ("kafka://b?mechanism=GSSAPI", "mechanism=GSSAPI: write one of PLAIN"),
        ("kafka://b?partitions=many", "partitions=many: write a number"),
        ("kafka://b?replication=0", "replication=0: write a number"),
    ],
)
def test_what_it_can_not_say_is_refused_in_one_sentence(url, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        parse_url(url)


def test_certificates_that_can_not_be_read_are_told(tmp_path):
    address = parse_url(f"kafka://b?security=ssl&ca={tmp_path}/nothing.pem")
    with pytest.raises(ConfigurationError, match="certificates can't be read"):
        address.options()
