"""The table of the service's settings."""

from __future__ import annotations

from twofold.service import settings


def part() -> str:
    """Markdown: one row per setting with its default and its bounds."""
    return settings.table()
