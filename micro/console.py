"""The only place that prints: coloured for a terminal, plain for a pipe, JSON when asked.

Lines are coloured here with ANSI codes, because an event or an access line must cost next to nothing; tables are drawn by
rich, which is loaded when the first one is drawn on a terminal. Whatever a service or a user wrote loses its control
characters first: a title must not be able to move the cursor.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zlib
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TextIO

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36}
_PALETTE = ("cyan", "magenta", "yellow", "green", "blue")
_UNSAFE = re.compile("(\x1b\\[[0-9;]*m)|[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""A colour (kept or dropped), or a character that could forge a line or move the cursor (always escaped)."""
_C1 = re.compile("[\x7f-\x9f]")
_WHOLE = 36
"""A cell up to this long, such as an id or a URL to copy, is never folded: rather the terminal breaks the line."""


class OutputClosed(Exception):
    """The reader of the output went away (`| head`): stop, quietly."""


class Console:
    """Standard output and standard error, as one command uses them.

    Colour is used on a terminal unless `NO_COLOR` is set (https://no-color.org) or the terminal is dumb; `FORCE_COLOR`
    uses it in a pipe too. Every method that prints may raise `OutputClosed`.
    """

    def __init__(
        self, out: TextIO | None = None, err: TextIO | None = None, *, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.out = out or sys.stdout or _nowhere()
        self.err = err or sys.stderr or _nowhere()
        self.interactive = self.out.isatty()
        self.color = _wants_color(self.out, environ)
        self.err_color = _wants_color(self.err, environ)
        self._ascii = _encode_anything(self.out)
        _encode_anything(self.err)

    def line(self, text: str = "") -> None:
        """Print one line, now."""
        _print(_clean(text, color=self.color), self.out)

    def json(self, value: Any) -> None:
        """Print one JSON value on one line, now."""
        text = json.dumps(value, ensure_ascii=self._ascii, separators=(",", ":"))
        _print(_C1.sub(lambda found: f"\\u{ord(found[0]):04x}", text), self.out)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print rows under `columns`: with long cells folded to fit a terminal, in full in a pipe."""
        cells = [[_clean(cell, color=self.color) for cell in row] for row in rows]
        heads = [name.upper() for name in columns]
        if self.interactive:
            self._draw(heads, cells)
        else:
            for row in _aligned([heads, *cells]):
                _print(row, self.out)

    def note(self, text: str) -> None:
        """Print a remark on standard error, so that a pipe holds data only."""
        _print(_clean(text, color=self.err_color), self.err)

    def error(self, text: str) -> None:
        """Print one sentence on standard error, two lines at most."""
        lines = [line.strip() for line in text.splitlines() if line.strip()] or ["unknown"]
        self.note(f"{style('error:', 'bold', 'red')} {lines[0]}")
        for line in lines[1:2]:
            self.note(line)

    def confirm(self, question: str) -> bool | None:
        """Ask on the terminal; `None` where nobody can be asked."""
        if not (sys.stdin.isatty() and self.err.isatty()):
            return None
        print(f"{question} [y/N] ", end="", file=self.err, flush=True)
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def raw(self, data: bytes) -> None:
        """Pass bytes on as they are, now."""
        self.out.flush()
        try:
            self.out.buffer.write(data)
            self.out.buffer.flush()
        except BrokenPipeError as error:
            raise OutputClosed from error

    def _draw(self, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        # Loaded when the first table is drawn: 25 ms that most commands do without.
        from rich.cells import cell_len  # noqa: PLC0415 - as said above
        from rich.console import Console as Terminal  # noqa: PLC0415 - as said above
        from rich.table import Table  # noqa: PLC0415 - as said above
        from rich.text import Text  # noqa: PLC0415 - as said above

        table = Table(*heads, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for column in table.columns:
            column.overflow = "fold"
        drawn = [[Text.from_ansi(cell) for cell in row] for row in cells]
        for row in drawn:
            table.add_row(*row)
        # Drawn into memory, because rich would end the whole process where the reader has left.
        drawing = io.StringIO()
        colors: Any = "standard" if self.color else None
        widths = [max(map(cell_len, map(str, column))) for column in zip(heads, *drawn, strict=True)]
        needed = sum(min(_WHOLE, width) + 2 for width in widths)
        width = max(needed, get_terminal_size().columns)
        Terminal(file=drawing, force_terminal=True, color_system=colors, width=width).print(table)
        for line in drawing.getvalue().splitlines():
            _print(line.rstrip(), self.out)


def style(text: str, *names: str) -> str:
    """`text` in the named colours; `Console` drops them where there is no colour."""
    codes = ";".join(str(_CODES[name]) for name in names if name)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text


def color_of(name: str) -> str:
    """The same colour for the same name, in every run and every terminal."""
    return _PALETTE[zlib.crc32(name.encode()) % len(_PALETTE)]


def tree(children: Sequence[tuple[str, Sequence[Any]]], indent: str = "") -> Iterable[str]:
    """The lines that draw `children`, each a text with its own children below it."""
    for number, (text, below) in enumerate(children, 1):
        last = number == len(children)
        yield f"{style(indent + ('└─ ' if last else '├─ '), 'dim')}{text}"
        yield from tree(below, indent + ("   " if last else "│  "))


def _clean(text: str, *, color: bool) -> str:
    def replacement(found: re.Match[str]) -> str:
        if found[1]:
            return found[1] if color else ""
        return found[0].encode("unicode_escape").decode()

    return _UNSAFE.sub(replacement, text)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _print(text: str, file: TextIO) -> None:
    try:
        print(text, file=file, flush=True)
    except BrokenPipeError as error:
        raise OutputClosed from error


def _wants_color(stream: TextIO, environ: Mapping[str, str]) -> bool:
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"


def _nowhere() -> TextIO:
    """For a stream that whoever started this has closed. It takes the lowest number that is free, so that no socket does."""
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 # open as long as the process


def _encode_anything(stream: TextIO) -> bool:
    """Make `stream` escape what its encoding lacks instead of failing; whether that encoding is not UTF-8."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return (stream.encoding or "utf-8").lower().replace("-", "") != "utf8"
