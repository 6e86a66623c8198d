"""Every setting of the service: its name, default, bounds and one line of description.

`Settings.from_env` reads `TWOFOLD_<NAME>`. This room does not know what the settings are for; the documentation's table is
printed by `python -m twofold.service.settings`.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

PREFIX = "TWOFOLD_"
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class SettingsError(ValueError):
    """A setting is unknown or out of bounds. The text names it and says what is allowed."""


def _setting(default: Any, about: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"about": about, "low": low, "high": high})


@dataclass(frozen=True)
class Settings:
    """All settings. Raises SettingsError when a value is out of its bounds."""

    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(8000, "TCP port to listen on; 0 takes a free one", 0, 65535)
    bundle: tuple[Path, ...] = _setting(
        (), "bundle folders or hf:USER/NAME[@REVISION], the first is the default; empty serves the embedded one"
    )
    max_body_bytes: int = _setting(8 * 2**20, "largest request body", 1024, 2**30)
    max_picture_bytes: int = _setting(4 * 2**20, "largest encoded picture", 1024, 2**30)
    max_pixels: int = _setting(4_200_000, "largest picture in pixels, checked before decoding", 1, 10**9)
    max_side: int = _setting(4096, "longest side of a picture in pixels, checked before decoding", 1, 65535)
    max_jpeg_scans: int = _setting(100, "most scans of a progressive JPEG, checked before decoding", 1, 10_000)
    max_items: int = _setting(64, "most pictures, items or matrix cells of one request", 1, 4096)
    max_header_bytes: int = _setting(16 * 2**10, "largest header block of a request", 1024, 2**20)
    max_url_bytes: int = _setting(4 * 2**10, "longest URL", 256, 2**16)
    deadline_s: float = _setting(10.0, "time from a request's arrival to its answer, queue included", 0.01, 3600)
    body_timeout_s: float = _setting(10.0, "time a client has to send its body", 0.01, 3600)
    queue_rows: int = _setting(1024, "most pictures that wait for each graph; at least max_items", 1, 10**6)
    batch_rows: int = _setting(8, "most pictures of one run of a graph", 1, 1024)
    threads: int = _setting(0, "threads of one run of a graph; 0 takes the CPU quota of the container", 0, 256)
    recipe: bool = _setting(True, "write the recipe into every picture")
    drain_s: float = _setting(10.0, "time to finish what was accepted after SIGTERM", 0, 3600)
    log_level: str = _setting("info", f"one of {', '.join(_LOG_LEVELS)}")

    def __post_init__(self) -> None:
        for spec in fields(self):
            value, low, high = getattr(self, spec.name), spec.metadata["low"], spec.metadata["high"]
            if low is not None and not low <= value <= high:
                raise SettingsError(f"{spec.name} must be from {low} to {high}")
        if self.log_level not in _LOG_LEVELS:
            raise SettingsError(f"log_level must be one of {', '.join(_LOG_LEVELS)}")
        if self.queue_rows < self.max_items:
            raise SettingsError("queue_rows must be at least max_items, or the largest request could never be served")

    @classmethod
    def from_env(cls, environ: Mapping[str, str], **overrides: Any) -> Settings:
        """Read every TWOFOLD_<NAME>; `overrides` (from the command line) win. Raises SettingsError, also on an unknown name."""
        specs = {PREFIX + spec.name.upper(): spec for spec in fields(cls)}
        values: dict[str, Any] = {}
        for name in sorted(environ):
            if not name.startswith(PREFIX):
                continue
            if name not in specs:
                nearest = difflib.get_close_matches(name, specs, n=1, cutoff=0.0)[0]
                raise SettingsError(f"{name} is not a setting; the nearest is {nearest}")
            values[specs[name].name] = _parse(name, environ[name], type(specs[name].default))
        return cls(**(values | overrides))


def _parse(name: str, text: str, kind: type) -> Any:
    """The value of one variable. A tuple of paths is separated as PATH is; the colon of hf:USER/NAME separates nothing."""
    if kind is tuple:
        parts = re.split(rf"(?<!^hf){os.pathsep}(?<!{os.pathsep}hf{os.pathsep})", text)
        return tuple(Path(part) for part in parts if part)
    if kind is bool:
        if text.lower() not in _WORDS:
            raise SettingsError(f"{name} must be one of {', '.join(_WORDS)}")
        return _WORDS[text.lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise SettingsError(f"{name} must be {'a whole number' if kind is int else 'a number'}") from error


def table() -> str:
    """The Markdown table of all settings: variable, default, bounds, description."""
    lines = ["| variable | default | from | to | what |", "|---|---|---|---|---|"]
    for spec in fields(Settings):
        default = (
            {True: "true", False: "false", (): "(empty)"}.get(spec.default, spec.default) if not _number(spec.default) else spec.default
        )
        low, high = ("" if spec.metadata[end] is None else spec.metadata[end] for end in ("low", "high"))
        lines.append(f"| `{PREFIX}{spec.name.upper()}` | `{default}` | {low} | {high} | {spec.metadata['about']} |")
    return "\n".join(lines) + "\n"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


if __name__ == "__main__":
    sys.stdout.write(table())
