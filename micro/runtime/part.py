"""What a child of the supervisor runs: one instance of a service, one gateway worker, or the helper for verbs.

Each is the system that `assemble` builds, with every service that is not of this process on the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from micro.runtime.description import Description, Part


def build(description: Description) -> Part:
    """The part that is described. Imports the code that it runs; opens nothing. Raises what `assemble` raises."""
    # Each is loaded by the processes that run it.
    if description.role == "service":
        from micro.runtime.service_part import ServicePart  # noqa: PLC0415 - as said above

        return ServicePart(description)
    if description.role == "gateway":
        from micro.runtime.gateway_part import GatewayPart  # noqa: PLC0415 - as said above

        return GatewayPart(description)
    from micro.runtime.helper_part import HelperPart  # noqa: PLC0415 - as said above

    return HelperPart(description)
