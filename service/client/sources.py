"""What callers have (paths, bytes, PIL pictures, arrays, pictures of an answer, code tokens) to what goes over the wire.

It does not know routes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twofold.service.client.pictures import Picture
from twofold.service.client.results import Encoding
from twofold.service.runtime import image_io
from twofold.service.runtime.latents import TOKEN_PREFIX

Source: TypeAlias = str | PathLike[str] | bytes | NDArray[Any] | image_io.PilPicture | Picture | Encoding
Codes: TypeAlias = str | Picture | Encoding | Mapping[str, Any] | tuple[Any, Any]


def picture(source: Source) -> str:
    """One picture in base64, or a code token as it is. An Encoding stands for its code, a Picture for its file.

    A file that holds a token is the token. Raises OSError where a path cannot be read, TypeError on anything that is no picture.
    """
    if isinstance(source, Encoding):
        return source.code
    if isinstance(source, str) and source.startswith(TOKEN_PREFIX):
        return source
    data = _file(source)
    return data.decode("ascii", "replace").strip() if data.startswith(TOKEN_PREFIX.encode()) else base64.b64encode(data).decode()


def _file(source: Source) -> bytes:
    if isinstance(source, Picture):
        return source.data
    if isinstance(source, bytes | bytearray):
        return bytes(source)
    if isinstance(source, str | PathLike):
        return Path(source).read_bytes()
    return image_io.to_file(source)  # type: ignore[arg-type]


def several(sources: Source | Sequence[Source]) -> list[str]:
    """One picture or several; an array of four dimensions [n,H,W,C] is several. Raises as `picture`."""
    if isinstance(sources, np.ndarray):
        return [picture(one) for one in (sources if sources.ndim == 4 else [sources])]
    many = isinstance(sources, Sequence) and not isinstance(sources, str | bytes | bytearray)
    return [picture(one) for one in sources] if many else [picture(sources)]  # type: ignore[union-attr, arg-type]


def item(codes: Codes) -> dict[str, Any]:
    """One item of /decode: a token, whatever has one, a pair (z_s, z_u), or a mapping in the words of the route. Raises TypeError."""
    if isinstance(codes, Picture | Encoding):
        codes = codes.code or ""
    if isinstance(codes, str):
        return {"code": codes}
    if isinstance(codes, Mapping):
        return {key: _plain(value) for key, value in codes.items()}
    if isinstance(codes, tuple) and len(codes) == 2:
        return {"z_s": _plain(codes[0]), "z_u": _plain(codes[1])}
    raise TypeError("decode takes code tokens, pictures with a code, pairs (z_s, z_u), or mappings")


def _plain(value: Any) -> Any:
    return np.asarray(value, np.float64).tolist() if isinstance(value, np.ndarray | tuple) else value
