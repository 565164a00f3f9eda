"""Folders of the hub. The hub itself is replaced at its client's boundary: no test reaches a network."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, LocalTokenNotFoundError
from huggingface_hub.utils import filter_repo_objects
from models import score_model

import condgen as cg
from condgen.errors import UserError
from condgen.hub import fetch, model_folder, parse_name, pretrained_folder, upload
from condgen.score import ScoreModel


def serve_hub(monkeypatch, folder, cache):
    """Makes a folder the one repository of the hub, me/pets; returns a log of what is asked for."""
    asked = []

    def download(repository, *, revision=None, allow_patterns=None):
        asked.append((repository, revision))
        if repository != "me/pets":
            raise LocalEntryNotFoundError("no network")
        files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        for file in filter_repo_objects(files, allow_patterns=allow_patterns):
            (cache / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / file, cache / file)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one score model, among private files."""
    pets = tmp_path / "pets"
    score_model(names=("ant", "bee")).save(pets / "score")
    for file in ("score/config.json", "score/calibration/calibration.json", "score/evil.py", "score/model.bin"):
        (pets / file).parent.mkdir(exist_ok=True)
        (pets / file).write_text("{}")
    return serve_hub(monkeypatch, pets, tmp_path / "cache")


def test_the_hub_is_asked_for_safetensors_and_json_alone(hub, tmp_path):
    assert ScoreModel.load("hf:me/pets@v1/score").names == ("ant", "bee")
    assert model_folder("hf:me/pets/score/") == tmp_path / "cache" / "score"
    files = {path.relative_to(tmp_path / "cache" / "score").as_posix() for path in (tmp_path / "cache").rglob("*.*")}
    assert files == {"model.safetensors", "config.json", "calibration/calibration.json"}
    assert hub == [("me/pets", "v1"), ("me/pets", None)]
    with pytest.raises(ValueError, match="only safetensors and JSON"):
        fetch("hf:me/pets", ["pytorch_model.bin"])
    assert parse_name("hf:me/pets@v1/score")[0] == "me/pets"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:me/other", "no network"),
        ("hf:me", "write hf:owner/name"),
        ("hf:me/pets/../../etc", "write hf:owner/name"),
        ("hf:me/pets/*", "write hf:owner/name"),
        ("hf:me/pets", "name the sub-folder of one model"),
        ("me/pets", "or hf:me/pets on the hub"),
    ],
)
def test_what_is_not_there_is_an_error(name, message, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "pets")
    with pytest.raises(UserError, match=re.escape(message)):
        model_folder(name)


def test_a_path_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me" / "pets").mkdir(parents=True)
    for name in ("me", "./me/pets", "../me/pets", tmp_path / "me", "me/pets"):
        assert model_folder(name) == Path(name)


class Api:
    """What pushing needs of the hub's client."""

    calls: list
    error: Exception | None = None

    def create_repo(self, repository, **how):
        self.calls.append((repository, how))
        if self.error is not None:
            raise self.error
        return SimpleNamespace(repo_id=repository)

    def create_commit(self, repository, operations, **how):
        sent = {}
        for operation in operations:
            with operation.as_file() as file:
                sent[operation.path_in_repo] = file.read()
        self.calls.append((repository, sent))
        return SimpleNamespace(repo_url=f"hub.example/{repository}")


@pytest.fixture
def api(monkeypatch):
    """The client's class with a record of its calls."""
    monkeypatch.setattr(Api, "calls", [], raising=False)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return Api


def _refused(status, told=None):
    answer = SimpleNamespace(status_code=status, headers={}, request=None, reason="refused", text="")
    return HfHubHTTPError("refused", response=answer, server_message=told)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalTokenNotFoundError("no token"), "hf auth login"),
        (_refused(400, '"license" must be\none of mit, ...'), '"license" must be one of mit, ...'),
        (_refused(503), "(HfHubHTTPError: refused)"),
        (ConnectionError("no\nnetwork"), "(ConnectionError: no network)"),
    ],
)
def test_a_push_that_fails_is_an_error_of_one_line(error, message, api, monkeypatch):
    monkeypatch.setattr(api, "error", error)
    with pytest.raises(UserError, match=re.escape(message)):
        upload({}, "me/pets", "why", private=False)


def test_models_that_come_with_condgen_are_small_and_whole():
    root = pretrained_folder("cifar10").parent
    assert sum(file.stat().st_size for file in root.rglob("*")) < 25e6
    for folder in root.glob("*/*"):
        name = f"pretrained:{folder.relative_to(root).as_posix()}"
        assert model_folder(name) == folder
        assert cg.load(name).names[3] == {"cifar10": "cat", "cifar100": "bear"}[folder.parent.name]
        assert (folder / "README.md").is_file()
    with pytest.raises(UserError, match="name one of cifar10, cifar100, cifar10/classifier, cifar10/generator, "):
        model_folder("pretrained:cifar")
