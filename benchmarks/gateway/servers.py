"""The origin, and the proxies of Debian's packages in front of it, each with one worker on one core."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator  # noqa: TC003 # a plain script
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from benchmarks.processes import first_answer, free_port, pin

if TYPE_CHECKING:
    from pathlib import Path

PROXY_CORE, LOAD_CORE = 0, 1
BODY = '{"id":42,"name":"measure"}'


class Absent(Exception):  # not an error: it is reported
    """A program that isn't installed here."""

    def __init__(self, program: str) -> None:
        super().__init__(f"{program} is not installed: apt-get install {program}")


@dataclass
class Server:
    """A running proxy."""

    name: str
    url: str
    processes: list[subprocess.Popen]
    path: str = "/orders/42"
    headers: dict[str, str] = field(default_factory=dict)
    """What a request needs to pass."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rsplit(":", 1)[1])

    def cpu(self) -> float:
        """Seconds of processor time that it has used, with its children."""
        return sum(sum(each.cpu_times()[:2]) for each in self.tree())

    def tree(self) -> list[psutil.Process]:
        """The processes and their children."""
        parents = [psutil.Process(process.pid) for process in self.processes]
        return [each for parent in parents for each in (parent, *parent.children(recursive=True))]

    def resident(self) -> int:
        """Bytes of memory in use."""
        return sum(each.memory_info().rss for each in self.tree())


def need(program: str) -> str:
    """The program's path. Raises `Absent`."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/sbin")
    if path is None:
        raise Absent(program)
    return path


@contextlib.contextmanager
def started(command: list[str], url: str, *, core: int, **options) -> Iterator[subprocess.Popen]:
    """A program on one core that answers `url` with 200."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet | options)
    try:
        first_answer(url, process)
        for each in (process, *psutil.Process(process.pid).children(recursive=True)):
            pin(each, core)
            for thread in each.threads() if isinstance(each, psutil.Process) else ():
                with contextlib.suppress(psutil.Error):
                    psutil.Process(thread.id).cpu_affinity([core])
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 12000; }}
http {{
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_timeout 300; keepalive_requests 1000000000; client_max_body_size 0;
  access_log {log};
  {zone}
  {upstream}
  server {{
    listen 127.0.0.1:{port} backlog=2048 reuseport;
    {location}
  }}
}}
"""


@contextlib.contextmanager
def nginx(name: str, folder: Path, *, core: int, path: str = "/", **parts: str) -> Iterator[Server]:
    """Nginx with one worker."""
    program = need("nginx")
    home = folder / name.replace(" ", "-").replace(",", "")
    home.mkdir()
    port = free_port()
    config = home / "nginx.conf"
    config.write_text(
        _NGINX.format(folder=home, port=port, **{"zone": "", "upstream": "", "log": "off"} | parts)
    )
    url = f"http://127.0.0.1:{port}"
    with started([program, "-p", str(home), "-c", str(config)], url + path, core=core) as process:
        yield Server(name, url, [process])


def origin(folder: Path) -> contextlib.AbstractContextManager[Server]:
    """What every proxy sends to: a small JSON object, and files of `folder` below `/files/`."""
    location = f"""default_type application/json;
    location / {{ return 200 '{BODY}'; }}
    location /files/ {{ sendfile on; alias {folder}/; }}"""
    return nginx("origin", folder, core=LOAD_CORE, location=location)


_PASS = """location / {{
      {limit}
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
    }}"""


def nginx_bare(folder: Path, behind: Server) -> contextlib.AbstractContextManager[Server]:
    """Nginx as a proxy with keep-alive to the origin, and nothing else."""
    upstream = (
        f"upstream origin {{ server 127.0.0.1:{behind.port}; keepalive 64; keepalive_requests 1000000000; }}"
    )
    return nginx("nginx", folder, core=PROXY_CORE, upstream=upstream, location=_PASS.format(limit=""))


def nginx_limited(folder: Path, behind: Server) -> contextlib.AbstractContextManager[Server]:
    """Nginx with a limit per address and an access log; it has no JWT."""
    upstream = (
        f"upstream origin {{ server 127.0.0.1:{behind.port}; keepalive 64; keepalive_requests 1000000000; }}"
    )
    return nginx(
        "nginx, limit and log",
        folder,
        core=PROXY_CORE,
        upstream=upstream,
        zone="limit_req_zone $binary_remote_addr zone=all:1m rate=1000000r/s;",
        location=_PASS.format(limit="limit_req zone=all burst=100000 nodelay;"),
        log=f"{folder}/nginx-access.log combined buffer=64k flush=1s",
    )


_HAPROXY = """
global
  nbthread 1
  maxconn 4000
{log}
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  option forwardfor
{option}
frontend front
  bind 127.0.0.1:{port}
{rules}
  default_backend back
backend back
  http-reuse always
  server origin 127.0.0.1:{origin}
"""

_HAPROXY_POLICIES = """
  stick-table type ip size 100k expire 10s store http_req_rate(1s)
  http-request use-service prometheus-exporter if {{ path /metrics }}
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 1000000 }}
  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}
  http-request deny deny_status 401 unless {{ var(txn.iss) -m str bench }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,"{key}") 1 }}
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request set-var(txn.id) uuid()
  http-request set-header X-Request-ID %[var(txn.id)]
  http-response set-header X-Request-ID %[var(txn.id)]
"""


@contextlib.contextmanager
def haproxy(name: str, folder: Path, behind: Server, *, log: str = "", option: str = "", rules: str = "", headers: dict | None = None, **options) -> Iterator[Server]:  # fmt: skip
    """HAProxy with one thread."""
    program = need("haproxy")
    config = folder / f"{name.split(',', maxsplit=1)[0]}-{len(rules)}.cfg"
    port = free_port()
    config.write_text(_HAPROXY.format(port=port, origin=behind.port, log=log, option=option, rules=rules))
    url = f"http://127.0.0.1:{port}"
    ready = url + ("/metrics" if rules else "/")
    with started([program, "-db", "-q", "-f", str(config)], ready, core=PROXY_CORE, **options) as process:
        yield Server(name, url, [process], headers=headers or {})


def haproxy_bare(folder: Path, behind: Server) -> contextlib.AbstractContextManager[Server]:
    """HAProxy as a proxy, and nothing else."""
    return haproxy("HAProxy", folder, behind)


@contextlib.contextmanager
def haproxy_policies(folder: Path, behind: Server) -> Iterator[Server]:
    """HAProxy that checks a token (RS256), limits each address, counts and logs."""
    need("haproxy")
    key, token = rsa_token(folder)
    with (folder / "haproxy.log").open("wb") as log, haproxy(
        "HAProxy, JWT, limit, metrics, log", folder, behind, log="  log stdout format raw local0",
        option="  log global\n  option httplog", rules=_HAPROXY_POLICIES.format(key=key),
        headers={"Authorization": f"Bearer {token}"}, stdout=log,
    ) as server:  # fmt: skip
        yield server


def rsa_token(folder: Path) -> tuple[Path, str]:
    """A file with a public key, and a token signed by its other half."""
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = folder / "key.pem"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    file.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    claims = {"iss": "bench", "aud": "bench", "sub": "ann", "role": "user", "exp": int(time.time()) + 86400}
    parts = [_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    signed = b".".join(parts)
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return file, (signed + b"." + _base64(signature)).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@contextlib.contextmanager
def caddy_bare(folder: Path, behind: Server) -> Iterator[Server]:
    """Caddy as a proxy, and nothing else."""
    import os  # noqa: PLC0415

    program = need("caddy")
    port = free_port()
    config = folder / "Caddyfile"
    config.write_text(
        "{\n admin off\n auto_https off\n}\n"
        f"http://127.0.0.1:{port} {{\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{behind.port} {{\n"
        "  transport http {\n   keepalive_idle_conns_per_host 64\n  }\n }\n}\n"
    )
    url = f"http://127.0.0.1:{port}"
    home = {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "GOMAXPROCS": "1",
    }
    command = [program, "run", "--config", str(config), "--adapter", "caddyfile"]
    with started(command, url, core=PROXY_CORE, env=os.environ | home) as process:
        yield Server("Caddy", url, [process])
