"""Folders on the Hugging Face hub.

`hf:owner/name`, `hf:owner/name/sub-folder` or, for one version, `hf:owner/name@revision/sub-folder` stands for a folder
where a model is asked for. Files are asked for by name, and fetched into the hub's own cache. They are safetensors and
JSON: nothing that could run.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from condgen.checkpoint import MODEL_FILE
from condgen.errors import UserError

__all__ = ["CALIBRATION_FILE", "CONFIG_FILE", "MODEL", "fetch", "model_folder", "repository_of", "upload"]

MODEL = "DIR|hf:OWNER/NAME"
"""How the help names what `model_folder` takes."""

CONFIG_FILE, CALIBRATION_FILE = "config.json", "calibration/calibration.json"

_NOTATION = re.compile(r"hf:(?P<repository>[^/@\s]+/[^/@\s]+)(@(?P<revision>[^/@\s]+))?(/(?P<inside>[^@]+))?")

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(/[\w-][\w./-]*)?", re.ASCII)  # also with a sub-folder


class _Place(NamedTuple):
    repository: str
    revision: str | None
    inside: str  # a sub-folder, or nothing


def model_folder(name: str | Path) -> Path:
    """The folder of a model that is named by its path, or by `hf:owner/name[/sub-folder]`.

    Raises:
        UserError: the hub has no such model, or cannot be reached, or `owner/name` is no path here.
    """
    if not str(name).startswith("hf:"):
        if _REPOSITORY.fullmatch(str(name)) and not os.path.exists(name):
            raise UserError(
                f"{name} does not exist: name a folder that a condgen command has written, or hf:{name} if it is on "
                "the Hugging Face hub"
            )
        return Path(name)
    folder = fetch(str(name), (MODEL_FILE, CONFIG_FILE, CALIBRATION_FILE))
    if not (folder / MODEL_FILE).is_file():
        raise UserError(f"{name} holds no {MODEL_FILE}: name the sub-folder of one model, such as {name}/score")
    return folder


def repository_of(name: str) -> str:
    """`owner/name` of `hf:owner/name[@revision][/sub-folder]`."""
    return _parse(name).repository


def fetch(name: str, files: Sequence[str]) -> Path:
    """Downloads files of a folder on the hub, those that there are, unless the cache has them; returns where it lies.

    Args:
        name: `hf:owner/name[@revision][/sub-folder]`.
        files: names within the folder, or patterns, of safetensors and JSON.
    """
    from huggingface_hub import snapshot_download

    if any(not file.endswith((".safetensors", ".json")) for file in files):
        raise ValueError("only safetensors and JSON are fetched")
    place = _parse(name)
    prefix = f"{place.inside}/" if place.inside else ""
    wanted = [prefix + file for file in files]
    try:
        root = snapshot_download(place.repository, revision=place.revision, allow_patterns=wanted)
    except Exception as error:  # three libraries below raise their own, and which ones changes with their versions
        raise _in_words(error, f"cannot fetch {name}", place.repository) from error
    return Path(root) / place.inside


def upload(files: Mapping[str, Path | bytes], repository: str, message: str, *, private: bool) -> str:
    """Creates a repository of models, unless it exists, and puts files into it, in one commit; returns its address.

    Args:
        files: the content, or where it lies, by name in the repository. Nothing else is sent.
        repository: `owner/name`.
        message: of the commit.
        private: whether its owner alone is to see it, where it is created.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    try:
        identity = api.create_repo(repository, repo_type="model", private=private, exist_ok=True).repo_id
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
        commit = api.create_commit(identity, operations, commit_message=message, repo_type="model")
    except Exception as error:  # as above
        raise _in_words(error, f"cannot push to {repository}", repository) from error
    return str(commit.repo_url)


def _parse(name: str) -> _Place:
    found = _NOTATION.fullmatch(name.rstrip("/"))
    inside = PurePosixPath((found["inside"] if found else None) or ".")
    if found is None or inside.is_absolute() or ".." in inside.parts or set(name) & set("*?[]"):
        raise UserError(f"{name!r} names nothing on the hub: write hf:owner/name or hf:owner/name/sub-folder")
    return _Place(found["repository"], found["revision"], "" if inside == PurePosixPath(".") else str(inside))


def _in_words(error: Exception, what: str, repository: str) -> UserError:
    from huggingface_hub import errors

    if isinstance(error, TypeError | AttributeError):  # a mistake of ours
        raise error
    log_in = "log in by 'hf auth login', or set HF_TOKEN"
    remedies: dict[type[Exception], str] = {  # the more special before the more general
        errors.GatedRepoError: f"access to {repository} must be asked for on its page; then {log_in}",
        errors.RepositoryNotFoundError: f"there is no {repository}, or it is private: check the name, or {log_in}",
        errors.RevisionNotFoundError: f"{repository} has no such revision: leave out what stands after @",
        errors.LocalTokenNotFoundError: f"no token of the Hugging Face hub: {log_in}",
        errors.LocalEntryNotFoundError: "the Hugging Face hub cannot be reached, and its cache holds no copy: check "
        "the network, or copy the folder here and name it",
    }
    for kind, remedy in remedies.items():
        if isinstance(error, kind):
            return UserError(f"{what}: {remedy}")
    told = " ".join(str(getattr(error, "server_message", None) or error).split())[:200]
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return UserError(f"{what}: the hub refuses it ({status}): {log_in}, with a token that may write")
    if status is not None:
        return UserError(f"{what}: the Hugging Face hub answers ({status}): {told}: change that, or try again later")
    return UserError(f"{what}: {type(error).__name__}: {told}: check the network, and try again")
