"""Checkpoints from the Hugging Face hub. huggingface_hub is imported only when a source is not a folder."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from base.paths import expand, matching
from base.terminal import draws_bars
from pruner.checkpoint.folder import CONFIG, INDEX, OTHER_FOLDERS, OTHER_FORMATS
from pruner.checkpoint.tensors import LONGEST_HEADER
from pruner.errors import PruneError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FETCH_BYTES = 1 << 18  # most headers are shorter
_UNWANTED = [*(f"*.{suffix}" for suffix in OTHER_FORMATS), *(f"{name}/*" for name in OTHER_FOLDERS), "consolidated*"]
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def find_source(source: str, revision: str | None = None, *, beside: Path = Path(), fetch: bool = True) -> Path:
    """The folder of a checkpoint: a local one if there is one of that name, else the hub's, downloaded to its cache.

    The name may begin with `~`, be a pattern that matches one folder, and is relative to `beside`. Weights in other formats are not
    downloaded, and without `fetch` nothing is. `revision` is a branch, tag or commit; its commit is part of the folder's path, and so
    enters the manifest. Without a network, an earlier download in the cache is used.

    Raises:
        PruneError: it is neither, or cannot be downloaded, or is not in the cache though nothing shall be fetched.

    """
    local = _local(source, beside)
    if not _is_on_hub(source, local, revision):
        return local
    if not fetch:
        if (cached := _cached(source, revision)) is not None:
            return cached
        raise PruneError(
            f"{source}: no such folder here, and not in the hub's cache: get it with `hf download {source}`, or give a folder"
        )
    from huggingface_hub import snapshot_download

    with hub_errors(f"SOURCE {source}: no such folder here", source, revision):
        return Path(snapshot_download(source, revision=revision, ignore_patterns=_UNWANTED))


def find_downloaded(source: str) -> tuple[Path, str]:
    """As `find_source` without a download, and the name by which people know it: the folder's, or OWNER/NAME."""
    folder = find_source(source, fetch=False)
    return folder, source if _is_on_hub(source, _local(source), None) else folder.resolve().name


@contextmanager
def source_headers(source: str, revision: str | None = None) -> Iterator[Path]:
    """A folder for inspection only. Of a model on the hub it has config, index and headers, in sparse files of full size.

    Raises:
        PruneError: as `find_source`.

    """
    local = _local(source)
    if not _is_on_hub(source, local, revision):
        yield local
        return
    with TemporaryDirectory() as place:
        folder = Path(place)
        try:
            with hub_errors(f"SOURCE {source}: no such folder here", source, revision):
                _fetch_headers(source, revision, folder)
        except PruneError:
            cached = _cached(source, revision)
            if cached is None:
                raise
            folder = cached
        yield folder


def _cached(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, ignore_patterns=_UNWANTED, local_files_only=True))
    except (errors.LocalEntryNotFoundError, errors.HFValidationError):
        return None


def _local(source: str, beside: Path = Path()) -> Path:
    """Where a local checkpoint of that name would be."""
    found = matching(beside / expand(source))
    if len(found) > 1:
        names = ", ".join(map(str, found[:3])) + (" …" if len(found) > 3 else "")
        raise PruneError(f"{source}: matches {len(found)} paths, {names}; name one")
    return found[0]


def _is_on_hub(source: str, local: Path, revision: str | None) -> bool:
    is_local = local.exists() or not _HUB_ID.fullmatch(source)
    if is_local and revision is not None:
        raise PruneError(f"--revision {revision}: {source} is not a model on the hub; only those have revisions")
    return not is_local


def _fetch_headers(repository: str, revision: str | None, folder: Path) -> None:
    from huggingface_hub import HfApi, HfFileSystem

    info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or []}
    files, top = HfFileSystem(), f"{repository}@{info.sha}"

    def fetch(name: str) -> None:
        with (
            files.open(f"{top}/{name}", "rb", block_size=_FETCH_BYTES) as remote,
            (folder / name).open("wb") as local,
        ):
            length = remote.read(8)
            local.write(length + remote.read(min(int.from_bytes(length, "little"), LONGEST_HEADER)))
            local.truncate(sizes[name])

    for name in {CONFIG, INDEX} & sizes.keys():
        (folder / name).write_bytes(files.cat_file(f"{top}/{name}"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fetch, (name for name in sizes if re.fullmatch(r"[^/]+\.safetensors", name))))


@contextmanager
def hub_errors(what: str, repository: str, revision: str | None = None) -> Iterator[None]:
    """Raise every error of the hub as a PruneError: `what`, the reason and the remedy in one line."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # re-exported without saying so

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not draws_bars(sys.stderr):
        disable_progress_bars()
    try:
        yield
    except Exception as error:  # the errors of the library, its HTTP client and its transfer client share no base
        raise PruneError(f"{what}: {_reason(error, repository, revision)}") from error


def _reason(error: BaseException, repository: str, revision: str | None) -> str:
    from huggingface_hub import constants, errors

    known = {  # the first match counts
        errors.GatedRepoError: f"access is restricted; accept the terms at {constants.ENDPOINT}/{repository} and {_LOG_IN}",
        errors.RevisionNotFoundError: f"the hub's {repository} has no --revision {revision}",
        errors.RepositoryNotFoundError: f"the hub shows no {repository}; check the name, and if it is private {_LOG_IN}",
        errors.LocalTokenNotFoundError: _LOG_IN,
        errors.HFValidationError: str(error).partition("\n")[0],  # of the name itself
    }
    if reason := next((text for kind, text in known.items() if isinstance(error, kind)), None):
        return reason
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        return f"the hub answers {status}; {_LOG_IN if status in {401, 403} else 'try again later'}"
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set and the model is not in the cache; unset it"
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        return _reason(error.__cause__, repository, revision)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the hub cache'}: {error.strerror}"
    return f"no answer from {constants.ENDPOINT} ({type(error).__name__}); check the network"
