"""Logs: standard `logging`, as JSON lines in one file per service and as short lines for people on stderr.

Whose record it is: a logger `micro.service.NAME` (and all below it) says so by its name; otherwise the service in
whose task the record was made (`current_service`); otherwise `gateway` for the gateway's own loggers and `micro` for
the stack's.
"""

from __future__ import annotations

import logging
import os
import re
import select
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import msgspec

from micro import context
from micro.redact import redact_mapping, redact_text
from micro.telemetry.files import RotatingFile

if TYPE_CHECKING:
    from pathlib import Path

current_service: ContextVar[str | None] = ContextVar("micro_service", default=None)
"""The service whose code runs now. The wrapper around each app and each of its tasks set it."""

STACK = "micro"
"""Name of the file for what no service logged."""

MARK = "\x1e"
"""What an instance writes before a line for people that is in a log file already."""

_STDERR = 2
_SURE_TO_FIT = 4000
"""Bytes that a pipe takes at once where it can be written to at all (PIPE_BUF is 4096, or more)."""
_PREFIX = "micro.service."
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}\Z")
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127) if code not in {9, 10}}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LONGEST_TRACEBACK = 20_000
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m"}


def service_logger(name: str) -> logging.Logger:
    """The logger of a service; children of it belong to the service as well."""
    return logging.getLogger(_PREFIX + name)


def service_of(record: logging.LogRecord) -> str:
    """The service that a record belongs to."""
    if record.name.startswith(_PREFIX):
        name = record.name[len(_PREFIX) :].partition(".")[0]
    elif record.name.startswith("micro.gateway"):
        name = "gateway"
    else:
        name = current_service.get() or STACK
    return name if _NAME.match(name) else STACK


def to_json(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of one line: time, level, service, logger, message; ids where there is a context; the rest."""
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC),
        "level": record.levelname.lower(),
        "service": service_of(record),
        "logger": record.name,
        "message": redact_text(record.getMessage()),
    }
    cause = context.current.get()
    if cause is not None:
        fields["request_id"] = cause.request_id
        fields["correlation_id"] = cause.correlation_id
        fields["causation_id"] = cause.causation_id
        fields["trace_id"] = cause.traceparent[3:35]
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = _traceback(record)
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    if extra:
        fields["extra"] = redact_mapping(extra)
    return fields


def to_line(record: logging.LogRecord, *, colour: bool = False, who: str | None = None) -> str:
    """One line for people (and the traceback below it), with control characters made visible.

    `who` stands in the place of the service.
    """
    moment = datetime.fromtimestamp(record.created, UTC).astimezone()
    text = redact_text(record.getMessage()).translate(_CONTROL).replace("\n", "\n    ")
    level = f"{record.levelname:<7}"
    if colour and record.levelname in _COLOURS:
        level = f"{_COLOURS[record.levelname]}{level}\x1b[0m"
    line = (
        f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d} {level} {who or service_of(record):<12} {text}"
    )
    if record.exc_info and record.exc_info[0] is not None:
        line += "\n" + _traceback(record).translate(_CONTROL).rstrip()
    return line


class ServiceFiles(logging.Handler):
    """Appends JSON lines to FOLDER/SERVICE.log, rotated by size.

    A disk that refuses doesn't stop the program: the record is counted in `lost`, and the first of a series is told on
    stderr.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 10_000_000, keep: int = 3) -> None:
        super().__init__()
        self.lost = 0
        self._failing = False
        self._folder = folder
        self._max_bytes, self._keep = max_bytes, keep
        self._files: dict[str, RotatingFile] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            fields = self.fields(record)
            self._file(fields["service"]).write(_encode(fields))
            self._failing = False
        except OSError as error:
            self.lost += 1
            if not self._failing:
                self._failing = True
                sys.stderr.write(f"micro: can't write to {self._folder}: {error.strerror or error}\n")
        except Exception:  # noqa: BLE001 # as every handler of the standard library: a record must not break its caller
            self.handleError(record)

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What is written of a record."""
        return to_json(record)

    def close(self) -> None:
        """Close every file."""
        self.acquire()
        try:
            for file in self._files.values():
                file.close()
        finally:
            self.release()
        super().close()

    def _file(self, service: str) -> RotatingFile:
        file = self._files.get(service)
        if file is None:
            path = self._folder / f"{service}.log"
            file = self._files[service] = RotatingFile(path, max_bytes=self._max_bytes, keep=self._keep)
        return file


class Lines(logging.StreamHandler[IO[str]]):
    """Writes lines for people, in colour on a terminal unless `NO_COLOR` is set."""

    def __init__(self, stream: IO[str], *, colour: bool) -> None:
        super().__init__(stream)
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """See `to_line`."""
        return to_line(record, colour=self._colour)


class OfferedLines(logging.Handler):
    """Writes lines for people on stderr, where somebody takes them; marked as those of an instance, where it is one's."""

    def __init__(self, instance: str | None = None, *, colour: bool = False) -> None:
        super().__init__()
        self._instance = instance
        self._colour = colour

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, or lose it."""
        try:
            text = to_line(record, who=self._instance, colour=self._colour)
        except Exception:  # noqa: BLE001 # as every handler of the standard library: a record must not break its caller
            self.handleError(record)
            return
        for line in text.split("\n"):
            offer(line if self._instance is None else MARK + line)


def offer(line: str) -> bool:
    """Write a line on stderr, if that can be done at once; whether it was. A very long one is cut."""
    data = line.encode(errors="replace")[:_SURE_TO_FIT] + b"\n"
    try:
        _, free, _ = select.select((), (_STDERR,), (), 0)
        return bool(free) and os.write(_STDERR, data) > 0
    except OSError:
        return False  # nobody is there any more


class Logs:
    """The handlers that `configure_logs` installed."""

    def __init__(self, handlers: list[logging.Handler], level: int) -> None:
        self._handlers = handlers
        self._root_level = logging.getLogger().level
        root = logging.getLogger()
        root.setLevel(level)
        for handler in handlers:
            root.addHandler(handler)

    def close(self) -> None:
        """Take the handlers away and close their files. Idempotent."""
        root = logging.getLogger()
        while self._handlers:
            handler = self._handlers.pop()
            root.removeHandler(handler)
            handler.close()
            root.setLevel(self._root_level)


def configure_logs(
    folder: Path | None,
    *,
    console: bool = True,
    level: str = "info",
    colour: bool = False,
    patient: bool = True,
) -> Logs:
    """Send every log record of at least `level` to the files below `folder`, and with `console` to stderr.

    Unless `patient`, a line is dropped where stderr can't take it at once: whoever looks after others must not wait.
    Raises `ValueError` for an unknown level. Close what is returned to undo it.
    """
    names = logging.getLevelNamesMapping()
    if level.upper() not in names:
        raise ValueError(f"no log level '{level}'; there is debug, info, warning, error, critical")
    handlers: list[logging.Handler] = []
    if folder is not None:
        handlers.append(ServiceFiles(folder))
    if console and patient:
        handlers.append(Lines(sys.stderr, colour=colour))
    elif console:
        handlers.append(OfferedLines(colour=colour))
    return Logs(handlers, names[level.upper()])


def _traceback(record: logging.LogRecord) -> str:
    assert record.exc_info is not None
    text = redact_text("".join(traceback.format_exception(*record.exc_info)))
    return text if len(text) <= _LONGEST_TRACEBACK else "…" + text[-_LONGEST_TRACEBACK:]


def _encode(fields: dict[str, Any]) -> bytes:
    try:
        return _encoder.encode(fields) + b"\n"
    except (TypeError, ValueError, msgspec.MsgspecError):
        return _encoder.encode({name: ascii(value) for name, value in fields.items()}) + b"\n"


_encoder = msgspec.json.Encoder(enc_hook=str)
