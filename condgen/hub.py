"""Models that are named rather than pointed at.

`pretrained:cifar10/score` stands for a folder of `assets/pretrained`, which is part of the package, and
`hf:owner/name[@revision][/sub-folder]` for one on the hub, of which files are fetched by name into its own cache:
safetensors and JSON, nothing that could run.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from condgen.checkpoint import MODEL_FILE
from condgen.errors import UserError

MODEL = "DIR|hf:OWNER/NAME|pretrained:NAME"
"""How the help names what `model_folder` takes."""

CONFIG_FILE, CALIBRATION_FILE = "config.json", "calibration/calibration.json"

_WORD = r"[\w-][\w.-]*"
_NOTATION = re.compile(rf"hf:({_WORD}/{_WORD})(?:@({_WORD}))?((?:/{_WORD})*)/?", re.ASCII)


def model_folder(name: str | Path) -> Path:
    """The folder of a path, `hf:owner/name[/sub-folder]` or `pretrained:name`; UserError where there is none."""
    if str(name).startswith("pretrained:"):
        return pretrained_folder(str(name).removeprefix("pretrained:"))
    if not str(name).startswith("hf:"):
        if _NOTATION.fullmatch(f"hf:{name}") and not os.path.exists(name):
            raise UserError(f"{name} does not exist: name a folder that condgen has written, or hf:{name} on the hub")
        return Path(name)
    folder = fetch(str(name), (MODEL_FILE, CONFIG_FILE, CALIBRATION_FILE))
    if not (folder / MODEL_FILE).is_file():
        raise UserError(f"{name} holds no {MODEL_FILE}: name the sub-folder of one model, such as {name}/score")
    return folder


def pretrained_folder(name: str) -> Path:
    """Of models that come with condgen, such as `cifar10`, or of one of them, such as `cifar10/score`."""
    package = Path(__file__).parent
    root = next((p for p in (package / "pretrained", package.parent / "assets" / "pretrained") if p.is_dir()), package)
    folders = sorted(file.parent.relative_to(root).as_posix() for file in root.glob(f"*/*/{MODEL_FILE}"))
    known = sorted({folder.partition("/")[0] for folder in folders}) + folders
    if name not in known:
        raise UserError(f"no model {name!r} comes with condgen: name one of {', '.join(known) or 'none'}")
    return root / name


def fetch(name: str, files: Sequence[str]) -> Path:
    """Downloads those files of a folder on the hub that there are, unless the cache has them; returns its place."""
    from huggingface_hub import snapshot_download

    if any(not file.endswith((".safetensors", ".json")) for file in files):
        raise ValueError("only safetensors and JSON are fetched")
    repository, revision, inside = parse_name(name)
    wanted = [f"{inside}/{file}".removeprefix("/") for file in files]
    try:
        root = snapshot_download(repository, revision=revision, allow_patterns=wanted)
    except Exception as error:  # three libraries below raise their own, and which ones changes with their versions
        raise _refused(error, f"cannot fetch {name}") from error
    return Path(root) / inside


def upload(files: Mapping[str, Path | bytes], repository: str, message: str, *, private: bool) -> str:
    """Puts files into a repository of models, which is created if need be, in one commit; returns its address."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    try:
        identity = api.create_repo(repository, repo_type="model", private=private, exist_ok=True).repo_id
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
        commit = api.create_commit(identity, operations, commit_message=message, repo_type="model")
    except Exception as error:  # as above
        raise _refused(error, f"cannot push to {repository}") from error
    return str(commit.repo_url)


def parse_name(name: str) -> tuple[str, str | None, str]:
    if (found := _NOTATION.fullmatch(name)) is None:
        raise UserError(f"{name!r} names nothing on the hub: write hf:owner/name or hf:owner/name/sub-folder")
    return found[1], found[2], found[3].removeprefix("/")


def _refused(error: Exception, what: str) -> UserError:
    told = " ".join(str(getattr(error, "server_message", None) or error).split())[:300]
    mend = "check the name and the network, and log in by 'hf auth login', with a token that may do this"
    return UserError(f"{what} ({type(error).__name__}: {told}): {mend}")
