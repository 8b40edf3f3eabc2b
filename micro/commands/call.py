"""`call` and `token`: speak to the stack as a client does, and as whom one likes."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from micro.commands.values import content, head_fields, http_method, json_value, member
from micro.commands.verb import DataVerb, Verb, add, argument, flag, flat, option, options, verb
from micro.console import style
from micro.errors import CallError, UsageError
from micro.spec.units import parse_duration
from micro.suggest import did_you_mean

if TYPE_CHECKING:
    import httpx

    from micro.console import Console
    from micro.runtime.client import RunningStack
    from micro.runtime.session import Session

app = flat()

_CALL_TTL = 60.0
"""Seconds that the token of one call is valid."""
_FRAMING = {"content-length", "transfer-encoding"}
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750 section 2.1."""


@verb
class Call(DataVerb):
    """Send one request to the running stack.

    It goes through the gateway unless --service names a service. Prints the body. Exits with 1 when the status is 400 or above.

    Example: micro call POST /tasks --data '{"title": "Milk"}' --as ada
    """

    method: str = argument("METHOD", help="GET, POST, …", parse=http_method)
    path: str = argument("PATH", help="The path, with its query.")
    service: str | None = option("--service", metavar="NAME", help="Ask this service on its own port.")
    data: str | None = option("--data", "-d", metavar="JSON", help="The body: JSON, @FILE, or - for stdin.")
    header: list[str] = options(
        "--header", "-H", metavar="'NAME: VALUE'", help="A field for the request's head."
    )
    include: bool = flag("--include", "-i", help="Print the status and the head, too.")
    field: str | None = option(
        "--field", metavar="NAME", help="Print just this member of the answer, such as id or items.0.id."
    )
    token: str | None = option("--token", metavar="TOKEN", help="With this bearer token.")
    subject: str | None = option("--as", metavar="SUBJECT", help="With a token for this subject.")
    role: str = option("--role", metavar="ROLE", help="The role in that token.", default="user")
    timeout: float = option(
        "--timeout",
        metavar="TIME",
        help="How long to wait for an answer.",
        default="30s",
        parse=parse_duration,
    )

    def run(self, console: Console) -> int | None:
        if self.field is not None and (self.json or self.include):
            raise UsageError("--field prints one member and nothing else: leave out --json and --include")
        session = self.session()
        stack = session.running()
        base = self._base(stack)
        headers = dict(head_fields(self.header)) | self._authorization(session)
        if framing := _FRAMING & headers.keys():
            raise UsageError(
                f"--header: {framing.pop()} says how long the body is, which micro knows: leave it out"
            )
        body = None
        if self.data is not None:
            body = self._body(headers)
        return self._send(console, base, headers, body)

    def _authorization(self, session: Session) -> dict[str, str]:
        token = self.token
        if token is not None and self.subject is not None:
            raise UsageError("one token at a time: give --token or --as")
        if token is not None and not _BEARER.fullmatch(token):
            raise UsageError("--token: is empty, or has characters that no bearer token has")
        if self.subject is not None:
            token = session.token(self.subject, role=self.role, ttl=_CALL_TTL)
        return {} if token is None else {"authorization": f"Bearer {token}"}

    def _body(self, headers: dict[str, str]) -> bytes:
        assert self.data is not None
        try:
            if "content-type" not in headers:  # whoever names a type may send what he likes
                headers["content-type"] = "application/json"
                return json.dumps(json_value(self.data)).encode()
            return content(self.data)
        except ValueError as error:
            raise UsageError(f"--data {self.data!r:.60}: {error}") from error

    def _base(self, stack: RunningStack) -> str:
        if not self.path.startswith("/"):
            raise UsageError(f"PATH {self.path!r}: begins with a slash, as in /tasks")
        if not self.path.isprintable():
            raise UsageError(f"PATH {self.path!r}: write what can't be printed as %XX")
        if self.service is None:
            return stack.gateway
        if self.service not in stack.services:
            raise UsageError(
                f"there is no service '{self.service}'{did_you_mean(self.service, stack.services)}"
            )
        return stack.services[self.service]

    def _send(self, console: Console, base: str, headers: dict[str, str], body: bytes | None) -> int:
        import httpx  # noqa: PLC0415 - loaded when used: 140 ms

        fields = [(name.encode(), os.fsencode(value)) for name, value in headers.items()]
        try:
            with (
                # Neither proxies nor credentials of the environment: the stack is on this machine.
                httpx.Client(timeout=self.timeout, trust_env=False) as client,
                client.stream(self.method, base + self.path, headers=fields, content=body) as answer,
            ):
                return self._show(console, answer)
        except httpx.InvalidURL as error:
            raise UsageError(f"PATH {self.path!r}: {error}") from error
        except httpx.TimeoutException as error:
            raise CallError(
                f"{self.method} {self.path}: no answer within {self.timeout:g} s; see: micro logs"
            ) from error
        except httpx.HTTPError as error:
            raise CallError(f"{self.method} {self.path}: {error}; see: micro health") from error

    def _show(self, console: Console, answer: httpx.Response) -> int:
        well = answer.status_code < 400
        if self.field is not None:
            return self._show_member(console, answer, self.field)
        if self.json:
            answer.read()
            console.json(
                {"status": answer.status_code, "headers": dict(answer.headers), "body": _decoded(answer)}
            )
            return 0 if well else 1
        if self.include:
            status = f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}"
            console.line(style(status, "bold", "green" if well else "red"))
            for name, value in answer.headers.items():
                console.line(f"{style(name, 'cyan')}: {value}")
            console.line()
        elif not well:
            console.note(f"{answer.status_code} {answer.reason_phrase}")
        _show_body(console, answer)
        return 0 if well else 1

    def _show_member(self, console: Console, answer: httpx.Response, path: str) -> int:
        """One member on stdout, for a script to keep. The body of a failure goes to stderr: nobody means to keep that."""
        answer.read()
        if answer.status_code >= 400:
            console.note(f"{answer.status_code} {answer.reason_phrase}")
            for line in answer.text.splitlines():
                console.note(line)
            return 1
        try:
            value = member(answer.json(), path)
        except ValueError as error:  # no JSON at all is one, too
            raise CallError(f"{self.method} {self.path}: no '{path}' in the answer: {error}") from error
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if console.interactive:
            console.line(text)
        else:
            console.raw(f"{text}\n".encode(errors="replace"))
        return 0


@verb
class Token(Verb):
    """Print an access token, or an API key.

    The stack's gateway and services accept the token. Signed with the stack's own key in .micro/keys; no stack has to run.
    An API key is printed this once, with the table for micro.toml that makes the gateway accept it.

    Example: micro token ada --role admin --ttl 15m
    """

    subject: str | None = argument("SUBJECT", help="Whom it speaks for; micro unless said.", optional=True)
    role: str = option("--role", metavar="ROLE", help="The role in it.", default="user")
    scope: list[str] = options("--scope", metavar="SCOPE", help="A scope in it.")
    ttl: float = option(
        "--ttl", metavar="TIME", help="How long a token is valid.", default="15m", parse=parse_duration
    )
    api_key: bool = flag("--api-key", help="An API key instead, which is valid as long as its table stands.")

    def run(self, console: Console) -> int | None:
        from micro.security.tokens import is_scope  # noqa: PLC0415 - loaded when used, like the session

        subject, scopes = self.subject or "micro", frozenset(self.scope)
        for scope in scopes:
            if not is_scope(scope):
                raise UsageError(f"--scope {scope!r}: is one word; give --scope again for another")
        if self.api_key:
            self._show_key(console, subject, scopes)
        else:
            console.line(self.session().token(subject, role=self.role, ttl=self.ttl, scopes=scopes))
        return None

    def _show_key(self, console: Console, name: str, scopes: frozenset[str]) -> None:
        """The key alone on stdout, for a script to keep; on stderr its table, which `2>> micro.toml` puts where it belongs."""
        from micro.clock import SystemClock  # noqa: PLC0415 - loaded when used, as above
        from micro.security.api_keys import digest_of, new_api_key  # noqa: PLC0415 - as above
        from micro.spec.formats import FORMATS  # noqa: PLC0415 - as above

        try:
            FORMATS["service name"][1](name)
        except ValueError as error:
            raise UsageError(f"SUBJECT {name!r}: {error}") from error
        key = new_api_key(SystemClock())
        console.line(key)
        console.note("")
        console.note("# Goes into micro.toml. The key is not shown again; it is sent as X-API-Key.")
        console.note(f"[gateway.api_keys.{name}]")
        console.note(f'hash = "{digest_of(key)}"')
        console.note(f"role = {json.dumps(self.role, ensure_ascii=False)}")
        if scopes:
            console.note(f"scopes = {json.dumps(sorted(scopes))}")


def _decoded(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text


def _show_body(console: Console, answer: httpx.Response) -> None:
    """For people, JSON is laid out; a pipe gets the bytes as they come."""
    if console.interactive and "json" in answer.headers.get("content-type", ""):
        answer.read()
        value = _decoded(answer)
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        for line in text.splitlines():
            console.line(line)
        return
    for chunk in answer.iter_bytes():
        console.raw(chunk)


add(app, "call", Call)
add(app, "token", Token)
