"""The code of policies and middleware: an edit to it puts the same settings in force with what it says now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.errors import MicroError
from micro.runtime.modules import Code, code_behind, import_anew

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from micro.gateway.app import Gateway
    from micro.gateway.plan import Plan

_NONE = Code(imports={}, files={}, folders=frozenset(), flat=frozenset())


class ExtensionCode:
    """What the gateway's extensions consist of. Libraries are not among it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._plan: Plan | None = None
        self._code = _NONE
        self._broken = False

    @property
    def code(self) -> Code:
        """The code behind what is in force now."""
        if self._plan is not self._gateway.plan:
            self._plan = self._gateway.plan
            targets = self._plan.spec.extensions
            self._code = code_behind(targets) if targets else _NONE
        return self._code

    def concerns(self, files: Collection[Path]) -> bool:
        """Whether an edit to these files can change a policy, or mend what kept one from being loaded."""
        return self._broken or any(file in self.code.files for file in files)

    def renew(self, files: Collection[Path], *, renewed: Collection[str] = ()) -> None:
        """Import anew what these files changed, but for modules that were just `renewed`, and put it in force.

        Raises `MicroError`; everything is as it was then.
        """
        code = self.code
        stale = code.reaching({code.files[file] for file in files if file in code.files})
        self._broken = True
        import_anew(stale.difference(renewed), files, lambda: self._gateway.reconfigure(self._gateway.spec))
        self._broken = False


def outcome(extensions: ExtensionCode, files: Collection[Path], *, renewed: Collection[str]) -> str:
    """Renew, and say in a sentence what came of it."""
    try:
        extensions.renew(files, renewed=renewed)
    except MicroError as error:
        return f"the gateway's policies stay as they were: {error}"
    return f"the gateway's policies are loaded anew: {', '.join(sorted(file.name for file in files))}"
