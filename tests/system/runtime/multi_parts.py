"""The parts of real children, on a memory bus of each one's own: these tests send no events."""

from __future__ import annotations

from micro.runtime import assemble
from micro.runtime.parts.build import build

__all__ = ["build"]

assemble.SqliteJournal = lambda path: None  # a journal belongs to one process
