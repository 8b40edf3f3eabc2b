"""What a child of the supervisor runs: one instance of a service or of a program, one gateway worker, the helper
for verbs, or what looks at the servers before any of them starts.

Each is the system that `assemble` builds, with every service that is not of this process on the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro.runtime.parts.description import Description, Part


def build(description: Description) -> Part:
    """The part that is described. Imports the code that it runs; opens nothing. Raises what `assemble` raises."""
    # Each is loaded by the processes that run it.
    if description.role == "service":
        from micro.runtime.parts.service import ServicePart  # noqa: PLC0415 - as said above

        return ServicePart(description)
    if description.role == "gateway":
        from micro.runtime.parts.gateway import GatewayPart  # noqa: PLC0415 - as said above

        return GatewayPart(description)
    if description.role == "program":
        from micro.runtime.parts.program import ProgramPart  # noqa: PLC0415 - as said above

        return ProgramPart(description)
    if description.role == "preflight":
        from micro.runtime.parts.preflight import PreflightPart  # noqa: PLC0415 - as said above

        return PreflightPart(description)
    from micro.runtime.parts.helper import HelperPart  # noqa: PLC0415 - as said above

    return HelperPart(description)
