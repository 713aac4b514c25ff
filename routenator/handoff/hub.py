"""Pushes an exported model or a data set to a model hub, by huggingface_hub.

What is pushed has a card. An adapter that is bound to this machine is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from routenator.errors import InputError, StageError
from routenator.extras import require
from routenator.files import read_json
from routenator.training.adapter import CARD, is_adapter

Kind = Literal["model", "dataset"]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HOW_TO_LOG_IN = "a token with write access: the environment variable HF_TOKEN, or `hf auth login`"


def kind_of(folder: Path) -> Kind:
    """Return what a folder is on a hub.

    Raises:
        InputError: it is neither an export nor a data set, or an adapter that is bound to this machine.
    """
    readme = (folder / "README.md").is_file()
    if readme and any(folder.glob("train*.parquet")):
        return "dataset"
    if not readme or not (folder / CARD).is_file():
        raise InputError(
            "neither an exported model nor a data set",
            file=folder,
            expected="a folder that `export` wrote, or RUN/dataset",
        )
    if is_adapter(folder):
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        if not (folder / str(base)).is_dir() and not _NAME.fullmatch(str(base)):
            raise InputError(
                "this adapter loads only on this machine",
                file=folder,
                key="base_model_name_or_path",
                found=base,
                expected="a folder that `export --adapter` wrote",
            )
    return "model"


def push(folder: Path, name: str, *, public: bool, endpoint: str | None = None) -> str:
    """Push a folder as one commit; an existing repository keeps its visibility.

    Args:
        folder: an export or a data set.
        name: ``ORG/NAME``.
        public: whether everyone may see a repository that this makes.
        endpoint: the hub's address; None: the one that huggingface_hub is set to.

    Returns:
        The address of the repository.

    Raises:
        InputError: it cannot be pushed, or there is no valid token.
        StageError: the hub refused it, or does not answer.
    """
    require("hub", "pushing to a hub")
    if not _NAME.fullmatch(name):
        raise InputError("not the name of a repository", key="ORG/NAME", found=name, expected="such as ours/router")
    kind = kind_of(folder)
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if get_token() is None:
        raise InputError("you are not logged in to the hub", found="no token", expected=_HOW_TO_LOG_IN)
    api = HfApi(endpoint=endpoint)
    try:
        made = api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            repo_type=kind,
            folder_path=folder,
            commit_message=f"Upload {kind} by RouteNator",
        )
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise InputError(
                "the hub refuses this token", key="ORG/NAME", found=f"{name} (status {status})", expected=_HOW_TO_LOG_IN
            ) from None
        raise StageError(f"the hub refused {name}: {error}") from None
    except HTTPError as error:
        raise StageError(f"the hub does not answer: {error}") from None
    return str(made.url)
