"""The framework's own tables, kept in every service's database beside the service's own.

`micro.store.migrate` applies them under the namespace below before the service's migrations.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
"""Numbered SQL files, each with a PostgreSQL twin."""

NAMESPACE = "micro"
"""Under which `micro_migrations` records them."""
