"""What a check found: a line of `micro doctor`, or of a start that looks at its servers first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    check: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    advice: str = ""
    """What to do, where something is to be done."""

    @property
    def line(self) -> str:
        """As a start says it."""
        return f"{self.state}  {self.check:<5}  {self.detail}"
