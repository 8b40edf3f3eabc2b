"""What a `kafka:` URL says: brokers, how to log in, and how topics are made."""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from micro.backend import split_url
from micro.errors import ConfigurationError

REQUEST_TIMEOUT_MS = 10_000
_SECURITY = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_KNOWN = frozenset({"security", "mechanism", "ca", "certificate", "partitions", "replication", "keep_days"})


class Address(NamedTuple):
    """A URL, read."""

    brokers: str
    """`host:port,host:port`, for messages too."""
    user: str
    password: str
    security: str
    mechanism: str
    ca: str | None
    certificate: str | None
    partitions: int
    replication: int
    """0: three where there are as many brokers."""
    keep_days: int

    def options(self) -> dict[str, Any]:
        """The arguments that every client of the driver takes."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.brokers,
            "client_id": "micro",
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "security_protocol": self.security.upper(),
        }
        if self.security.startswith("sasl"):
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        if self.security.endswith("ssl"):
            options["ssl_context"] = self._context()
        return options

    def hosts(self) -> list[tuple[str, int]]:
        """The brokers, one by one."""
        pairs = (broker.rpartition(":") for broker in self.brokers.split(","))
        return [(host.strip("[]"), int(port)) for host, _, port in pairs]

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate)
        except OSError as error:
            raise ConfigurationError(f"the certificates can't be read: {error}", key="bus") from error
        return context


def parse_url(url: str) -> Address:
    """Read ``kafka://user:password@host:9092,host2:9092?security=sasl_ssl&partitions=12``. Raises `ConfigurationError`.

    `security` is plaintext, ssl, sasl_plaintext or sasl_ssl (sasl_ssl where there is a user, plaintext otherwise);
    `mechanism` PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; `ca` and `certificate` are PEM files; `partitions` (12),
    `replication` (3, or as many as there are brokers) and `keep_days` (7) are for topics that don't exist yet.
    """
    parts = split_url(url, "bus")
    options = dict(parse_qsl(parts.query))
    unknown = sorted(options.keys() - _KNOWN)
    if unknown:
        raise ConfigurationError(
            f"unknown option {unknown[0]}; there are {', '.join(sorted(_KNOWN))}", key="bus"
        )
    login, _, brokers = parts.netloc.rpartition("@")
    if not brokers:
        raise ConfigurationError("names no broker: write kafka://host:9092", key="bus")
    user, _, password = login.partition(":")
    return Address(
        brokers=",".join(broker if ":" in broker else f"{broker}:9092" for broker in brokers.split(",")),
        user=unquote(user),
        password=unquote(password),
        security=_one_of(options, "security", _SECURITY, default="sasl_ssl" if login else "plaintext"),
        mechanism=_one_of(options, "mechanism", _MECHANISMS, default="PLAIN"),
        ca=options.get("ca"),
        certificate=options.get("certificate"),
        partitions=_number(options, "partitions", default=12),
        replication=_number(options, "replication", default=0),
        keep_days=_number(options, "keep_days", default=7),
    )


def _one_of(options: dict[str, str], name: str, choices: tuple[str, ...], *, default: str) -> str:
    found = options.get(name, default)
    if found not in choices:
        raise ConfigurationError(f"{name}={found}: write one of {', '.join(choices)}", key="bus")
    return found


def _number(options: dict[str, str], name: str, *, default: int) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not 0 < int(text) <= 10_000:
        raise ConfigurationError(f"{name}={text}: write a number", key="bus")
    return int(text)
