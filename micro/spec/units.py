"""Quantities as people write them: durations ("15s"), sizes ("1MiB"), rates ("100/minute"), and back."""

from __future__ import annotations

import re

from micro.spec.terms import Rate

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}

_QUANTITY = re.compile(r"(?a)(\d{1,12}(?:\.\d{1,9})?) ?([A-Za-z]+)\Z")
_RATE = re.compile(r"(?a)(\d{1,9}) ?/ ?(?:(\d{1,6}) ?)?([a-z]+)\Z")


def parse_duration(text: str) -> float:
    """Seconds of "500ms", "15s", "2m", "1.5h" or "7d". Raises `ValueError` with a sentence; zero is refused."""
    seconds = _quantity(text, _SECONDS, 'a duration like "15s", "500ms" or "2m"')
    if not seconds:
        raise ValueError("must be longer than zero")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as `seconds`; `0s`, which it refuses, for none."""
    if not seconds:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if seconds >= _SECONDS[unit] and not seconds % _SECONDS[unit]:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    milliseconds = round(seconds * 1000, 6)
    if milliseconds / 1000 == seconds and milliseconds == int(milliseconds):
        return f"{milliseconds:.0f}ms"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def parse_size(text: str) -> int:
    """Bytes of "512B", "64KiB", "1MiB" (powers of 1024) or "10MB" (powers of 1000). Raises `ValueError`."""
    return round(_quantity(text, _BYTES, 'a size like "1MiB" or "10MB"'))


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads as `size`."""
    for unit in ("GiB", "GB", "MiB", "MB", "KiB", "kB"):
        if size >= _BYTES[unit] and not size % _BYTES[unit]:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def parse_rate(text: str) -> Rate:
    """A rate like "100/minute", "5/second" or "20/10 seconds". Raises `ValueError` with a sentence."""
    match = _RATE.match(text)
    period = match and _PERIODS.get(match[3].removesuffix("s"))
    if not match or not period:
        raise ValueError('is not a rate like "100/minute", "5/second" or "1000/hour"')
    limit, count = int(match[1]), int(match[2] or 1)
    if not limit or not count:
        raise ValueError("must allow at least one request in at least one unit of time")
    return Rate(limit, count * period)


def format_rate(rate: Rate) -> str:
    """The text that `parse_rate` reads as `rate`, where its period is whole seconds."""
    for unit in ("day", "hour", "minute", "second"):
        count, rest = divmod(rate.period, _PERIODS[unit])
        if count and not rest:
            return f"{rate.limit}/{unit}" if count == 1 else f"{rate.limit}/{count:.0f} {unit}s"
    return f"{rate.limit}/{rate.period}s"


def _quantity(text: str, units: dict[str, float] | dict[str, int], wanted: str) -> float:
    match = _QUANTITY.match(text)
    if not match or match[2] not in units:
        raise ValueError(f"is not {wanted}")
    return float(match[1]) * units[match[2]]
