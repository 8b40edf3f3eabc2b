"""What an event, a request, a log record or a moment looks like on one line. Pure: text in, text out."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from micro.console import color_of, style, tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LEVELS = {"debug": ("dim",), "warning": ("yellow",), "error": ("red",), "critical": ("bold", "red")}
_STATES = {
    "healthy": "green",
    "running": "green",
    "handled": "green",
    "ready": "green",
    "ok": "green",
    "starting": "yellow",
    "degraded": "yellow",
    "waiting": "yellow",
    "retrying": "yellow",
    "warn": "yellow",
    "pending": "yellow",
    "stopping": "yellow",
}
_LONGEST = 160
"""Characters of an event's data on a terminal; a pipe gets all of it."""


def clock_time(moment: Any) -> str:
    """The local time of day of an RFC 3339 moment, with milliseconds; what can't be read is shown as it is."""
    try:
        local = datetime.fromisoformat(moment).astimezone()
    except (TypeError, ValueError):
        return str(moment or "")
    return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"


def local_time(moment: str | None) -> str:
    """Local date and time of an RFC 3339 moment; nothing for none."""
    try:
        return f"{datetime.fromisoformat(moment or '').astimezone():%Y-%m-%d %H:%M:%S}"
    except (TypeError, ValueError):
        return str(moment or "")


def state(word: str) -> str:
    """A state in the colour of how good it is."""
    return style(word, _STATES.get(word, "red"))


def span(seconds: float | None) -> str:
    """A length of time as people say it: `35 ms`, `0.35 s`, `12 s`, `3 m 5 s`, `2 h 10 m`, `4 d 1 h`."""
    if seconds is None:
        return ""
    if seconds < 0.1:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    for unit, size, below, small in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small} {below}"
    return f"{whole} s"


def megabytes(size: int | None) -> str:
    """A number of bytes, in megabytes: `54 MB`; nothing for none."""
    return "" if size is None else f"{size / 1e6:.0f} MB"


def count(number: int, noun: str) -> str:
    """`1 event`, `2 events`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def event_line(item: Mapping[str, Any], *, short: bool) -> str:
    """One event: time, topic, type, key and its data, which `short` cuts to what a terminal can show.

    A record that is no event shows what it holds instead.
    """
    event = item["event"] if isinstance(item["event"], dict) else {"data": item.get("raw", item["event"])}
    data = pairs(event.get("data"))
    if short and len(data) > _LONGEST:
        data = data[: _LONGEST - 1] + "…"
    topic = str(item["topic"])
    return "  ".join(
        [
            style(clock_time(event.get("time")), "dim"),
            style(f"{topic:<19}", color_of(topic)),
            style(f"{event.get('type') or 'not an event':<22}", "bold"),
            str(event.get("subject") or ""),
            style(data, "dim"),
        ]
    ).rstrip()


def status_color(status: int) -> str:
    """Green below 400, yellow for the client's mistakes, red for ours."""
    return "red" if status >= 500 else "yellow" if status >= 400 else "green"


def access_line(record: Mapping[str, Any]) -> str:
    """One request that the gateway answered."""
    status = int(record["status"])
    upstream = str(record.get("upstream") or record.get("service") or "")
    return "  ".join(
        [
            style(clock_time(record["time"]), "dim"),
            style(f"{upstream:<19}", color_of(upstream)),
            f"{record['method']} {record['path']}",
            style(str(status), status_color(status)),
            style(f"{record['duration_ms']:.1f} ms", "dim"),
        ]
    )


def log_lines(record: Mapping[str, Any]) -> Iterable[str]:
    """One log record: the line, then the exception's."""
    service, level = str(record.get("service", "")), str(record.get("level", ""))
    who = str(record.get("instance") or service)
    extra = pairs(record.get("extra") or {})
    head = [
        style(clock_time(record.get("time", "")), "dim"),
        style(f"{level:<8}", *_LEVELS.get(level, ())),
        style(f"{who:<12}", color_of(service)),
        str(record.get("message", "")),
    ]
    yield "  ".join([*head, style(extra, "dim")]).rstrip()
    for line in str(record.get("exception") or "").splitlines():
        yield f"    {line}"


def pairs(data: Any) -> str:
    """`key=value` for each member of an object, text bare and the rest as JSON; anything else so, nothing for nothing."""
    if isinstance(data, dict):
        return " ".join(f"{name}={_plain(value)}" for name, value in data.items())
    return "" if data is None else _plain(data)


def details(thing: Mapping[str, Any], indent: str = "") -> Iterable[str]:
    """All of a JSON object: a line for each member, what lies within it below."""
    for name, value in thing.items():
        head = f"{indent}{style(name, 'bold')}"
        if isinstance(value, dict) and value:
            yield head
            yield from details(value, indent + "  ")
        elif isinstance(value, list) and value:
            yield head
            yield from (f"{indent}  {_plain(each)}" for each in value)
        elif isinstance(value, str) and "\n" in value:
            yield head
            yield from (f"{indent}  {line}" for line in value.splitlines())
        else:
            shown = "-" if value in (None, [], {}) else _plain(value)
            yield f"{head}{' ' * max(1, 18 - len(indent + name))}{shown}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def trace_lines(trace: Mapping[str, Any]) -> Iterable[str]:
    """The causation tree of `events trace`, from each root down."""
    for root in trace["roots"]:
        text, below = _branch(root)
        yield text
        yield from tree(below)


def _branch(node: Mapping[str, Any]) -> tuple[str, list[Any]]:
    what = _WHAT.get(node["kind"], _something)(node)
    time = f"  {style(clock_time(node['time']), 'dim')}" if node.get("time") else ""
    return f"{what}{time}", [_branch(child) for child in node.get("children", ())]


def _request(node: Mapping[str, Any]) -> str:
    status = int(node.get("status") or 0)
    answer = style(str(status or ""), status_color(status))
    took = style(f"{node['duration_ms']:.1f} ms", "dim") if node.get("duration_ms") is not None else ""
    return f"{style('{method} {path}'.format(**node), 'bold')}  {answer}  {_service(node)}  {took}".rstrip()


def _event(node: Mapping[str, Any]) -> str:
    return f"{style(str(node['type']), 'bold')}  {node['topic']}  {node.get('key', '')}  {_service(node)}".rstrip()


def _handler(node: Mapping[str, Any]) -> str:
    error = node.get("error") or {}
    why = style(f"{error.get('type', '')}: {error.get('message', '')}", "dim") if error else ""
    return f"{_service(node)} {state(str(node['state']))}  {why}".rstrip()


def _something(node: Mapping[str, Any]) -> str:
    return f"{node['kind']} {node.get('id', '')}"


def _service(node: Mapping[str, Any]) -> str:
    name = str(node.get("service") or "")
    return style(name, color_of(name))


_WHAT = {"request": _request, "event": _event, "handler": _handler}
