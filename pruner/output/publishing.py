"""Finished checkpoints to the Hugging Face hub: one repository a width, private until its owner says otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pruner.checkpoint.hub import hub_errors
from pruner.errors import PruneError
from pruner.output.manifest import PrunedCheckpoint


def check_push(repository: str) -> None:
    """Check, before hours of work, that `repository` reads OWNER/NAME and that the hub accepts the login.

    Raises:
        PruneError: a check failed, or the hub does not answer.

    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise PruneError(f"--push {repository}: must read OWNER/NAME")
    from huggingface_hub import HfApi

    with hub_errors(f"--push {repository}", repository):
        HfApi().whoami()


def push(
    pruned: Sequence[PrunedCheckpoint], repository: str, on_start: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Upload every folder to `repository`-width-W; returns the address of each.

    Files that the hub already has are not sent again, so that after an error the same command resumes the upload. `on_start`
    is called with the name of each repository before that is created.

    Raises:
        PruneError: an upload failed; the folders on disk are unchanged.

    """
    from huggingface_hub import HfApi

    api, addresses = HfApi(), []
    for one in pruned:
        name = f"{repository}-{one.folder.name}"
        on_start(name)
        with hub_errors(f"--push {name}: {one.folder} is finished but not uploaded", name):
            address = api.create_repo(name, private=True, exist_ok=True)
            made = one.manifest
            api.upload_folder(
                repo_id=name,
                folder_path=one.folder,
                commit_message=f"{made.source_id} pruned to {one.folder.name} by {made.criterion}",
            )
            addresses.append(str(address))
    return addresses
