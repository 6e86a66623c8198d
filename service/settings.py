"""Every setting of the service: its name, default, bounds and one line of description.

`Settings()` has the defaults; `Settings.from_env` reads the variables `TWOFOLD_<NAME>`. This module does not know what a setting is for.
`python -m twofold.service.settings` prints the table of the documentation.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from annotated_types import Ge, Le
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "TWOFOLD_"

LogLevel = Literal["debug", "info", "warning", "error", "critical"]

# What a text from the environment may be, by the beginning of pydantic's error type.
_ALLOWED = {"bool_": "one of 1, true, yes, on, 0, false, no, off", "float_": "a number", "int_": "a whole number"}


class SettingsError(ValueError):
    """A setting is unknown or out of bounds. The text names it and says what is allowed."""


def _paths(value: object) -> object:
    """Paths as the entries of PATH are separated; the colon of hf:USER/NAME separates nothing."""
    if not isinstance(value, str):
        return value
    parts = re.split(rf"(?<!^hf){os.pathsep}(?<!{os.pathsep}hf{os.pathsep})", value)
    return tuple(Path(part) for part in parts if part)


Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_paths)]


class Settings(BaseSettings):
    """All settings, immutable. Raises SettingsError when a value is unknown or out of its bounds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one")
    bundle: Paths = Field(
        (), description="bundle folders or hf:USER/NAME[@REVISION], the first is the default; empty serves the embedded one"
    )
    max_body_bytes: int = Field(8 * 2**20, ge=1024, le=2**30, description="largest request body")
    max_picture_bytes: int = Field(4 * 2**20, ge=1024, le=2**30, description="largest encoded picture")
    max_pixels: int = Field(4_200_000, ge=1, le=10**9, description="largest picture in pixels, checked before decoding")
    max_side: int = Field(4096, ge=1, le=65535, description="longest side of a picture in pixels, checked before decoding")
    max_jpeg_scans: int = Field(100, ge=1, le=10_000, description="most scans of a progressive JPEG, checked before decoding")
    max_items: int = Field(64, ge=1, le=4096, description="most pictures, items or matrix cells of one request")
    max_header_bytes: int = Field(16 * 2**10, ge=1024, le=2**20, description="largest header block of a request")
    max_url_bytes: int = Field(4 * 2**10, ge=256, le=2**16, description="longest URL")
    deadline_s: float = Field(10.0, ge=0.01, le=3600, description="time from a request's arrival to its answer, queue included")
    body_timeout_s: float = Field(10.0, ge=0.01, le=3600, description="time a client has to send its body")
    queue_rows: int = Field(1024, ge=1, le=10**6, description="most pictures that wait for each graph; at least max_items")
    batch_rows: int = Field(8, ge=1, le=1024, description="most pictures of one run of a graph")
    threads: int = Field(0, ge=0, le=256, description="threads of one run of a graph; 0 takes the CPU quota of the container")
    recipe: bool = Field(True, description="write the recipe into every picture")
    drain_s: float = Field(10.0, ge=0, le=3600, description="time to finish what was accepted after SIGTERM")
    log_level: LogLevel = Field("info", description=f"one of {', '.join(get_args(LogLevel))}")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_sentence(error)) from None

    @model_validator(mode="after")
    def _queue_holds_the_largest_request(self) -> Self:
        if self.queue_rows < self.max_items:
            raise ValueError("queue_rows must be at least max_items, or the largest request could never be served")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments alone: a bundle opened in a notebook must not depend on the environment. `from_env` reads that."""
        return (init_settings,)

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Read every TWOFOLD_<NAME> of the environment; `overrides` (from the command line) win.

        Raises SettingsError, also on an unknown name, and then says which known one is nearest.
        """
        known = {PREFIX + name.upper() for name in cls.model_fields}
        for name in sorted(os.environ):
            if name.upper().startswith(PREFIX) and name not in known:
                nearest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)[0]
                raise SettingsError(f"{name} is not a setting; the nearest is {nearest}")
        return cls(**(EnvSettingsSource(cls)() | overrides))


def bounds(name: str) -> tuple[float | None, float | None]:
    """The least and the greatest value of a setting, both allowed; None where there is no bound."""
    limits = Settings.model_fields[name].metadata
    low, high = (next((getattr(one, end) for one in limits if isinstance(one, kind)), None) for kind, end in ((Ge, "ge"), (Le, "le")))
    return low, high


def _sentence(error: ValidationError) -> str:
    """One line on the first fault: the setting and what it may be."""
    fault = error.errors(include_url=False, include_input=False)[0]
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    name = str(fault["loc"][0])
    if name not in Settings.model_fields:
        return f"{name} is not a setting"
    kind = fault["type"]
    if kind in ("greater_than_equal", "less_than_equal"):
        low, high = bounds(name)
        return f"{name} must be from {low} to {high}"
    if kind == "literal_error":
        return f"{name} must be one of {', '.join(get_args(LogLevel))}"
    for begins, allowed in _ALLOWED.items():
        if kind.startswith(begins):
            return f"{PREFIX}{name.upper()} must be {allowed}"
    return f"{name}: {fault['msg']}"


def table() -> str:
    """The Markdown table of all settings: variable, default, bounds, description."""
    lines = ["| variable | default | from | to | what |", "|---|---|---|---|---|"]
    for name, spec in Settings.model_fields.items():
        default = {"True": "true", "False": "false", "()": "(empty)"}.get(str(spec.default), spec.default)
        low, high = ("" if end is None else end for end in bounds(name))
        lines.append(f"| `{PREFIX}{name.upper()}` | `{default}` | {low} | {high} | {spec.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
