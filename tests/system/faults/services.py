"""The services of the ledger, in processes where faults can be had happen."""

from __future__ import annotations

from faults import points  # noqa: F401 # it changes what this process makes
from ledger.services import first, second, source

for service in (source, first, second):
    service.migrations = f"../ledger/{service.migrations}"
