"""Bundles on the Hugging Face hub: `hf:USER/NAME` or `hf:USER/NAME@REVISION` to a folder in the cache of huggingface_hub.

The library (the extra `hub`) is imported only when such a bundle is named. What a bundle is is not known here: the caller verifies the
folder. Names come from the settings, never from a request.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PREFIX = "hf:"


class HubError(Exception):
    """The bundle could not be fetched. The text is one sentence that says what to do."""


def is_on_hub(bundle: Path) -> bool:
    """Whether this is a name on the hub and no folder; a folder of such a name is written ./hf:..."""
    return bundle.as_posix().startswith(PREFIX)


def fetch(bundle: Path) -> Path:
    """The folder of `hf:USER/NAME[@REVISION]` in the cache, fetched if it isn't there. Raises HubError.

    HF_HUB_OFFLINE=1 uses the cache alone.
    """
    match = re.fullmatch(PREFIX + r"(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?", bundle.as_posix(), re.ASCII)
    if not match or ".." in bundle.as_posix():
        raise HubError("write it as hf:USER/NAME or hf:USER/NAME@REVISION")
    try:
        from huggingface_hub import constants, errors, snapshot_download
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError as error:
        raise HubError("this needs huggingface_hub: pip install 'twofold[hub]'") from error
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        return Path(snapshot_download(match[1], revision=match[2]))
    except errors.RevisionNotFoundError as error:
        raise HubError("the hub has no such revision of it") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError("the hub has no such bundle, or none that you may see: set HF_TOKEN if it is private") from error
    except errors.LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else "the hub cannot be reached"
        part = "only in part" if isinstance(error, errors.IncompleteSnapshotError) else "not"
        raise HubError(f"it is {part} in the cache, and {why}") from error
    except Exception as error:  # the library and the HTTP client below it raise many kinds
        raise HubError(f"the hub did not deliver it ({type(error).__name__}): try again") from error
