"""A bundle goes to a hub as it is. The only file here that uploads; knows the contract and huggingface_hub, nothing of training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twofold.model import contract


class PushError(Exception):
    """The bundle did not go to the hub. One sentence that says what to do."""


def push(bundle: Path, name: str, private: bool = False, api: Any = None) -> str:
    """Verify a bundle and make USER/NAME hold exactly its files, in one commit; returns `hf:USER/NAME@COMMIT`, which `twofold serve` takes.

    The repository is made if it isn't there. `api` is a huggingface_hub.HfApi (default: one with the token of the environment).
    Raises ContractError before anything is sent, PushError when the hub refuses or cannot be reached.
    """
    card = contract.open_bundle(bundle).card
    from huggingface_hub import HfApi, constants, errors
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    api = api or HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=name, folder_path=bundle, delete_patterns="*", commit_message=f"Bundle {card.id}")
    except errors.HFValidationError as error:
        raise PushError("the name on the hub must be USER/NAME, of letters, digits, '-', '_' and '.'") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise PushError(f"the hub lets you not write {name}: `hf auth login`, or set HF_TOKEN to a token that may write") from error
        raise PushError(f"the hub refused it with status {status}: try again") from error
    except Exception as error:  # the library and the HTTP client below it raise many kinds
        why = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else type(error).__name__
        raise PushError(f"the hub did not take it ({why})") from error
    return f"hf:{name}@{done.oid}"
