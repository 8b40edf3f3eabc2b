"""Logs of a process that is one instance of a service: a file of its own, and lines for whoever started the stack.

FOLDER/SERVICE.NUMBER.log has one writer, so that it can be rotated. The lines for people go to stderr, each behind `micro.telemetry.logs.MARK`:
the supervisor shows them as they are, and keeps for the log what else a process writes there. They are dropped where
nobody takes them in time, by an instance and by the supervisor, so neither is ever held up by its own log.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from micro.telemetry.logs import STACK, Logs, OfferedLines, ServiceFiles

if TYPE_CHECKING:
    from pathlib import Path

    from micro.telemetry.files import RotatingFile


class InstanceFile(ServiceFiles):
    """Appends every record to one file; what no service logged is this one's."""

    def __init__(self, folder: Path, service: str, number: int) -> None:
        super().__init__(folder)
        self._service = service
        self._number = number

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """See `micro.telemetry.logs.to_json`; and the instance."""
        fields = super().fields(record)
        if fields["service"] == STACK:
            fields["service"] = self._service
        return {**fields, "instance": f"{self._service}-{self._number}"}

    def _file(self, service: str) -> RotatingFile:
        return super()._file(f"{self._service}.{self._number}")


def configure_instance_logs(folder: Path, service: str, number: int, *, level: str = "info") -> Logs:
    """Send every log record of at least `level` to the instance's file and, as lines, to stderr."""
    handlers: list[logging.Handler] = [
        InstanceFile(folder, service, number),
        OfferedLines(f"{service}-{number}"),
    ]
    return Logs(handlers, logging.getLevelNamesMapping()[level.upper()])
