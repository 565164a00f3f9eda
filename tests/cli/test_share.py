"""`condgen export`, `push`, `pack` and `tensorboard`: a run among others, and from the hub."""

import json
import re
import shutil
import tarfile

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from condgen.checkpoint import load_tensors
from condgen.errors import UserError
from condgen.runs.folder import file_key, read_rows
from tests.cli.conftest import bad, good
from tests.test_hub import api, serve_hub  # noqa: F401 - a fixture

MODELS = ("score", "score-told", "classifier-ce", "classifier-dlsm", "generator-sid")


@pytest.fixture(scope="module")
def shared(digits, tmp_path_factory):
    """The run, exported; not to be changed."""
    out = tmp_path_factory.mktemp("share") / "shared"
    good("export", digits, "--out", out, "--license", "mit")
    return out


@pytest.fixture
def hub(shared, tmp_path, monkeypatch):
    return serve_hub(monkeypatch, shared, tmp_path / "cache")


def test_exported_models_are_the_models_of_the_run(digits, shared):
    assert set(json.loads((shared / "config.json").read_text())["models"]) == set(MODELS)
    for name in MODELS:
        assert file_key(shared / name / "model.safetensors") == file_key(digits / name / "model.safetensors")
        config = json.loads((shared / name / "config.json").read_text())
        assert config["kind"] == load_tensors(digits / name / "model.safetensors")[1]["kind"]
    for file in ("README.md", "figures/samples.png", "figures/samples-dlsm.png", "figures/held-out.png"):
        assert (shared / file).stat().st_size > 0


def test_an_exported_model_serves_wherever_a_run_folder_does(digits, shared, hub, tmp_path):
    words = ("--per-class", 1, "--steps", 3, "--scale", "calibrated")
    places = {"run": digits, "shared": shared, "hub": "hf:me/pets"}
    for name, place in places.items():
        models = ("--score", f"{place}/score", "--classifier", f"{place}/classifier-dlsm")
        good("sample", *models, *words, "--out", tmp_path / name)
    for row in read_rows(tmp_path / "run" / "manifest.jsonl"):
        assert len({(tmp_path / name / row["file"]).read_bytes() for name in places}) == 1
    small = ("--steps", 2, "--batch", 4)
    copy = shutil.copytree(shared, tmp_path / "copy")
    models = ("--score", copy / "score", "--classifier", tmp_path / "c")
    good("train-classifier", "--score", copy / "score", *small, "--out", tmp_path / "c")
    guide = ("--classifier", copy / "classifier-dlsm")
    good("train-generator", "--teacher", copy / "score", *guide, *small, "--out", tmp_path / "g")
    good("calibrate", *models, "--draws", 1, "--levels", "1")
    good("diagnose", *models, "--levels", "1", "--most", 20, "--out", tmp_path / "d")
    assert "hf download" in bad("calibrate", "--classifier", "hf:me/pets/classifier-dlsm", "--score", copy / "score")


def test_the_studio_shows_a_model_of_the_hub(hub, tmp_path, monkeypatch):
    pytest.importorskip("uvicorn", reason="the studio is missing: pip install 'condgen[studio]'")

    def instead(offer, *_):
        raise UserError(f"{offer.name} in {offer.folders.main}")

    monkeypatch.setattr("condgen.studio.app.Studio", instead)
    assert bad("studio", "hf:me/pets/score", "--no-open").endswith(f"hf:me/pets/score in {tmp_path}/cache/score\n")


# The card


def test_a_card_has_the_figures_and_pictures_of_the_run(shared):
    card = ModelCard.load(shared / "README.md")
    assert (card.data.license, card.data.library_name) == ("mit", "condgen")
    assert "Held-out squared error minus that of zero guidance" in card.text
    assert "Classifiers on held-out data, by noise level." in card.text
    pictures = re.findall(r"^!\[[^]]*\]\(([^)]+)\)$", card.text, flags=re.MULTILINE)
    assert "figures/held-out.png" in pictures
    for picture in pictures:
        with Image.open(shared / picture) as opened:
            opened.load()


def test_code_and_commands_of_a_card_work_as_they_stand(shared, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (shared / "README.md").read_text().replace("OWNER/NAME", "me/pets")
    blocks = dict(re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE))
    space = {}
    exec(blocks["python"], space)  # our own, written a moment ago
    assert space["x"].shape == (8, 1, 8, 8)
    commands = [line.removeprefix("condgen ").split() for line in blocks[""].splitlines() if line]
    assert [words[1] for words in commands] == ["--score", "--generator"]
    for words in commands:
        good(*words)


def test_a_single_model_has_the_measures_of_its_own(digits, tmp_path):
    out = good("export", digits / "classifier-dlsm", "--out", tmp_path / "one")
    assert "no licence is chosen" in out
    card = ModelCard.load(tmp_path / "one" / "README.md")
    assert card.data.license == "unknown"
    assert "by noise level" in card.text
    assert (tmp_path / "one" / "calibration" / "calibration.json").is_file()
    stage = json.loads((tmp_path / "one" / "config.json").read_text())["stage"]
    assert stage == yaml.safe_load((digits / "classifier-dlsm" / "recipe.yaml").read_text())


def test_an_export_is_whole_or_absent_and_replaces_nothing(digits, shared, tmp_path, monkeypatch):
    from condgen.export import folder

    def fails(*_, **__):
        raise UserError("no card today")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "model_card", fails)
        assert "no card today" in bad("export", digits, "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    before = (shared / "README.md").read_bytes()
    assert "exists already" in bad("export", digits, "--out", shared)
    assert (shared / "README.md").read_bytes() == before
    unfinished = shutil.copytree(digits, tmp_path / "unfinished")
    (unfinished / "classifier-dlsm" / "model.safetensors").unlink()
    for place, message in (
        (tmp_path / "none", "holds no model"),
        (digits / "samples" / "dlsm", "holds no model"),
        (unfinished, "classifier-dlsm is not finished"),
    ):
        assert message in bad("export", place, "--out", tmp_path / "out")


# Pushing


def test_push_sends_what_was_exported_with_its_name_in_the_cards(shared, api, tmp_path):  # noqa: F811
    place = shutil.copytree(shared, tmp_path / "shared")
    before = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    shutil.copytree(place / "classifier-dlsm", place / "my-secret-classifier")
    for file in (".env.json", "score/.lock", "score/model.png", "figures/mine.png"):
        (place / file).touch()
    out = good("push", place, "me/pets", "--dry-run")
    assert {line.split()[-1] for line in out.splitlines()[:-1]} == before.keys()
    assert api.calls == []
    assert "pushed: hub.example/me/pets" in good("push", place, "me/pets", "--private")
    (_, how), (_, sent) = api.calls  # one commit
    assert (how["private"], how["exist_ok"], how["repo_type"]) == (True, True, "model")
    assert sent.keys() == before.keys()
    card = sent.pop("README.md")
    assert b"hf:me/pets/score" in card
    assert b"hf:OWNER/NAME" not in card
    assert sent.items() <= before.items()
    assert all((place / file).read_bytes() == content for file, content in before.items())


def test_push_takes_whole_exported_folders_alone(digits, shared, api, tmp_path):  # noqa: F811
    place = shutil.copytree(shared, tmp_path / "shared")
    (place / "score" / "config.json").unlink()
    (place / "score" / "config.json").symlink_to(tmp_path / "private")
    for folder, repository, message in (
        (digits, "me/pets", "is no exported folder"),
        (place, "me/pets", "outside the folder"),
        (shared, "pets", "write owner/name"),
    ):
        assert message in bad("push", folder, repository)
        assert api.calls == []


# Packing, TensorBoard


def test_pack_and_tensorboard(digits, tmp_path):
    good("pack", digits / "samples" / "dlsm", "--out", tmp_path / "s.tar")
    with tarfile.open(tmp_path / "s.tar") as tar:
        assert Image.open(tar.extractfile("00000020.png")).size == (8, 8)
        assert json.load(tar.extractfile("00000020.json"))["name"] == "0"
    assert "none" in bad("pack", tmp_path / "none", "--out", tmp_path / "none.tar")
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    good("tensorboard", digits, "--out", tmp_path / "tb")
    assert list((tmp_path / "tb" / "score").glob("events.out.tfevents.*"))
