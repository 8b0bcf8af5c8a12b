"""Finished checkpoints to the Hugging Face hub: one repository a width, private until its owner says otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pruner.checkpoint.hub import hub_errors
from pruner.errors import PruneError
from pruner.prune import PrunedCheckpoint


def check_push(repository: str) -> None:
    """Find out, before hours of work, whether `repository` reads OWNER/NAME and whether the hub knows who we are.

    Raises:
        PruneError: it does not, or cannot be asked.

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

    Files that the hub already has are not sent again, so that after an error the same command goes on. `on_start` hears the
    name of each repository before it is made.

    Raises:
        PruneError: an upload failed; what is on disk is not touched.

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
