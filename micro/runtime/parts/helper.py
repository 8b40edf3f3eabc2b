"""What the verbs on events, dead letters and databases are done by, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from micro.runtime.parts.base import BasePart

if TYPE_CHECKING:
    from micro.runtime.parts.description import Description, Start


class HelperPart(BasePart):
    """Does the verbs on events, dead letters and databases, on a control socket of its own."""

    def __init__(self, description: Description) -> None:
        super().__init__(description)
        self.assemble(self.read())

    async def start(self, start: Start) -> None:
        """See `Part.start`."""
        from micro.runtime.control import ControlServer  # noqa: PLC0415 - loaded when first used
        from micro.runtime.operations import verbs_of  # noqa: PLC0415 - as above

        start.private.close()
        await self.system.open(migrate=False)
        self._control = ControlServer(Path(self.description.control), verbs_of(self.system))
        await self._control.open()

    async def close(self) -> None:
        """See `Part.close`."""
        if hasattr(self, "_control"):
            await self._control.close()
        await super().close()
