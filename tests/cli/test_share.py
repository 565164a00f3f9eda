"""Models for the hub, and from it. The hub itself is replaced at its client's boundary: no test reaches a network."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, LocalTokenNotFoundError
from huggingface_hub.utils import filter_repo_objects
from PIL import Image

from condgen.classifier import Classifier
from condgen.errors import UserError
from condgen.generator import Generator
from condgen.hub import fetch, model_folder
from condgen.runs import file_key, read_rows
from condgen.score import ScoreModel

NAMES = ("<b>cat</b>"[:6], "a|b *c* `d`", "dog")
RECIPE = """
name: pets
data: {kind: folder, root: ROOT, test_fraction: 0.3}
schedule: {kind: edm}
score: {network: {kind: mlp, width: 16, depth: 1}, training: {steps: 3, batch: 8}}
classifiers:
  dlsm: {network: {kind: mlp, width: 16, depth: 1}, training: {steps: 3, batch: 8}}
generators:
  sid_v2:
    network: {kind: mlp, width: 16, depth: 1}
    objective: {loss: sid, network: {kind: mlp, width: 16, depth: 1}}
    training: {steps: 3, batch: 8}
calibrate: {draws: 1, levels: [0.5, 2]}
sample:
  per_class: 4
  methods: {guided: {classifier: dlsm, steps: 3}, unguided: {steps: 3}, one-step: {generator: sid_v2}}
diagnose: {levels: [1], queries: 4}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished tiny run on a folder of images, whose classes have names that Markdown and HTML would take amiss."""
    base = tmp_path_factory.mktemp("share")
    generator = torch.Generator().manual_seed(0)
    for label, name in enumerate(NAMES):
        (base / "pri_vate" / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = (torch.rand(4, 4, generator=generator) * 100 + 70 * label).to(torch.uint8).numpy()
            Image.fromarray(pixels).save(base / "pri_vate" / "photos" / name / f"{number}.png")
    recipe = base / "pets.yaml"
    recipe.write_text(RECIPE.replace("ROOT", str(base / "pri_vate" / "photos")))
    command = [sys.executable, "-m", "condgen", "--threads", "1", "run", recipe, "--out", base / "pets"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return base / "pets"


@pytest.fixture(scope="module")
def shared(run):
    """The run, exported."""
    command = [sys.executable, "-m", "condgen", "export", run, "--out", run.parent / "shared", "--license", "mit"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return run.parent / "shared"


@pytest.fixture
def hub(shared, tmp_path, monkeypatch):
    """A hub with one repository, me/pets, and a log of what it was asked for."""
    asked = []

    def download(repository, *, revision=None, allow_patterns=None):
        asked.append((repository, revision))
        cache = tmp_path / "cache"
        if repository != "me/pets":
            raise LocalEntryNotFoundError("no network")
        files = [str(path.relative_to(shared)) for path in shared.rglob("*") if path.is_file()]
        for file in filter_repo_objects(files, allow_patterns=allow_patterns):
            (cache / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(shared / file, cache / file)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


MODELS = {"score": ScoreModel, "classifier-dlsm": Classifier, "generator-sid_v2": Generator}


def test_exported_models_are_the_models_of_the_run(run, shared):
    assert json.loads((shared / "config.json").read_text())["models"] == list(MODELS)
    for name, kind in MODELS.items():
        assert file_key(shared / name / "model.safetensors") == file_key(run / name / "model.safetensors")
        model = kind.load(shared / name)
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert model.config == kind.load(run / name).config
        config = json.loads((shared / name / "config.json").read_text())
        assert config["kind"] == model.config.kind
        assert tuple(config["names"]) == NAMES
    for file in ("figures/samples.png", "figures/samples-guided.png", "figures/score-errors-data.png"):
        assert (shared / file).stat().st_size > 0


def test_an_exported_model_serves_wherever_a_run_folder_does(run, shared, condgen, tmp_path):
    words = ("--per-class", 2, "--steps", 3, "--scale", "calibrated")
    for place in (run, shared):
        models = ("--score", place / "score", "--classifier", place / "classifier-dlsm")
        code, _, err = condgen("sample", *models, *words, "--out", tmp_path / place.name)
        assert code == 0, err
    for row in read_rows(tmp_path / "pets" / "manifest.jsonl"):
        pictures = [(tmp_path / name / row["file"]).read_bytes() for name in ("pets", "shared")]
        assert pictures[0] == pictures[1]
    copy = shutil.copytree(shared, tmp_path / "copy")
    photos = ("--data", run.parent / "pri_vate" / "photos")
    small, guide = ("--steps", 2, "--batch", 4), ("--classifier", copy / "classifier-dlsm")
    for command in (
        ("train-classifier", "--score", copy / "score", *photos, *small, "--out", tmp_path / "c"),
        ("train-generator", "--teacher", copy / "score", *guide, *photos, *small, "--out", tmp_path / "g"),
        ("sample", "--generator", copy / "generator-sid_v2", "--n", 3, "--out", tmp_path / "s"),
    ):
        code, _, err = condgen(*command)
        assert code == 0, err
    code, _, err = condgen("calibrate", "--classifier", copy / "classifier-dlsm", "--score", copy / "score")
    assert (code, "photos" in err) == (2, True)  # the data's place on a machine is not passed on


def test_data_that_others_have_too_are_found_again(condgen, tmp_path):
    code, _, err = condgen("train-score", "--steps", 2, "--batch", 4, "--out", tmp_path / "score")
    assert code == 0, err
    assert condgen("export", tmp_path / "score", "--out", tmp_path / "e")[0] == 0
    small = ("--steps", 2, "--batch", 4, "--set", "classifier.network.width=16")
    code, _, err = condgen("train-classifier", "--score", tmp_path / "e", *small, "--out", tmp_path / "c")
    assert code == 0, err
    for words in (("calibrate", "--draws", 1, "--levels", "1"), ("diagnose", "--levels", "1", "--queries", 2)):
        out = ("--out", tmp_path / "d") if words[0] == "diagnose" else ()
        code, _, err = condgen(*words, "--score", tmp_path / "e", "--classifier", tmp_path / "c", *out)
        assert code == 0, err


def test_the_hub_is_asked_for_safetensors_and_json_alone(shared, hub, tmp_path, condgen):
    fetched = ScoreModel.load("hf:me/pets@v1/score")
    x, t = torch.randn(2, 1, 4, 4), torch.tensor(1.0, dtype=torch.float64)
    assert torch.equal(fetched(x, t), ScoreModel.load(shared / "score")(x, t))
    place = model_folder("hf:me/pets/classifier-dlsm/")
    assert place == tmp_path / "cache" / "classifier-dlsm"
    files = {str(path.relative_to(tmp_path / "cache")) for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert files == {
        *("score/model.safetensors", "score/config.json"),
        *("classifier-dlsm/model.safetensors", "classifier-dlsm/config.json"),
        "classifier-dlsm/calibration/calibration.json",
    }
    assert hub == [("me/pets", "v1"), ("me/pets", None)]
    models = ("--score", "hf:me/pets/score", "--classifier", "hf:me/pets/classifier-dlsm", "--scale", "calibrated")
    code, _, err = condgen("sample", *models, "--n", 3, "--steps", 3, "--out", tmp_path / "s")
    assert code == 0, err
    with pytest.raises(ValueError, match="only safetensors and JSON"):
        fetch("hf:me/pets", ["pytorch_model.bin"])


def test_the_studio_shows_a_model_of_the_hub(hub, condgen, tmp_path, monkeypatch):
    pytest.importorskip("uvicorn", reason="the studio is missing: pip install 'condgen[studio]'")

    def instead(offer, *_):
        raise UserError(f"{offer.name} in {offer.folder}")

    monkeypatch.setattr("condgen.studio.app.Studio", instead)
    monkeypatch.setattr("condgen.cli.studio._listen", lambda *_: None)
    code, _, err = condgen("studio", "hf:me/pets/score", "--no-open")
    assert (code, err) == (2, f"error: hf:me/pets/score in {tmp_path / 'cache' / 'score'}\n")
    code, _, err = condgen("studio", "hf:me/pets/classifier-dlsm", "--no-open")
    assert (code, "draws nothing by itself" in err) == (2, True)


def test_a_name_without_hf_has_a_hint(hub, tmp_path, monkeypatch, condgen):
    monkeypatch.chdir(tmp_path)
    for kind in MODELS.values():
        with pytest.raises(
            UserError, match=r"me/pets does not exist: .*, or hf:me/pets if it is on the Hugging Face hub"
        ):
            kind.load("me/pets")
    code, _, err = condgen("sample", "--score", "me/pets/score", "--out", "s")
    assert (code, "hf:me/pets/score" in err, len(err.strip().splitlines())) == (2, True, 1)
    for name in ("me", "./me/pets", "../me/pets", tmp_path / "me"):
        assert model_folder(name) == Path(name)
    (tmp_path / "me" / "pets").mkdir(parents=True)
    assert model_folder("me/pets") == Path("me/pets")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:me/other", "cannot be reached, and its cache holds no copy"),
        ("hf:me", "write hf:owner/name"),
        ("hf:me/pets/../../etc", "write hf:owner/name"),
        ("hf:me/pets/*", "write hf:owner/name"),
        ("hf:me/pets", "name the sub-folder of one model"),
    ],
)
def test_what_is_not_on_the_hub_is_said_in_one_line(name, message, hub, condgen, tmp_path):
    code, _, err = condgen("sample", "--score", name, "--out", tmp_path / "s")
    assert (code, message in err, len(err.strip().splitlines())) == (2, True, 1), err


def test_a_calibration_cannot_be_written_to_the_hub(hub, condgen, shared):
    code, _, err = condgen("calibrate", "--classifier", "hf:me/pets/classifier-dlsm", "--score", shared / "score")
    assert (code, "hf download" in err) == (2, True)


# ----------------------------------------------------------------------------------------------------
# The card


def test_every_figure_of_the_run_is_in_the_head_with_its_conditions(run, shared):
    card = ModelCard.load(shared / "README.md")
    assert (card.data.license, card.data.library_name, card.data.model_name) == ("mit", "condgen", "pets")
    rows = json.loads((run / "metrics.json").read_text())["rows"]
    rows = [row for row in rows if not row["method"].startswith("real")]
    assert len(rows) == len(card.data.eval_results) > 10
    for row, result in zip(rows, card.data.eval_results, strict=True):
        assert result.metric_name == f"{row['metric']}, {row['method']}"
        assert result.metric_value == pytest.approx(row["value"], rel=1e-5)
        assert (result.metric_args["n"], result.metric_args["features"]) == (row["n"], row["features"])
        assert result.metric_args["floor"] == pytest.approx(row["floor"], rel=1e-5)
    for word in (
        "data: photos, images of shape 1 x 4 x 4",
        "real (held out)",
        "Samples a method: 12",
        "Limits",
        "photos train",
        "D\\_L",
    ):
        assert word in card.text, word
    assert "Classifiers on held-out data, by noise level." in card.text


def test_names_of_classes_show_as_they_are_written(shared):
    text = ModelCard.load(shared / "README.md").text
    assert "\\<b\\>cat, a\\|b \\*c\\* \\`d\\`, dog" in text
    assert "<b>" not in text


def test_pictures_of_a_card_are_there(shared):
    text = (shared / "README.md").read_text()
    pictures = re.findall(r"^!\[[^]]*\]\(([^)]+)\)$", text, flags=re.MULTILINE)
    assert "figures/score-errors-data.png" in pictures
    for picture in pictures:
        with Image.open(shared / picture) as opened:
            opened.load()


def test_code_and_commands_of_a_card_work_as_they_stand(shared, hub, condgen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (shared / "README.md").read_text().replace("OWNER/NAME", "me/pets")
    blocks = dict(re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE))
    space = {}
    exec(blocks["python"], space)  # our own, written a moment ago
    assert space["x"].shape == (8, 1, 4, 4)
    commands = [line.removeprefix("condgen ").split() for line in blocks[""].splitlines() if line]
    assert [words[1] for words in commands] == ["--score", "--generator"]
    for words in commands:
        code, _, err = condgen(*words)
        assert code == 0, (words, err)


def test_the_place_of_the_data_is_not_passed_on(run, shared):
    for path in shared.rglob("*"):
        if path.suffix in (".md", ".json", ".html"):
            text = path.read_text().replace("\\", "")
            assert str(run.parent / "pri_vate") not in text, path


def test_a_single_model_has_the_measures_of_its_own(run, condgen, tmp_path):
    code, out, err = condgen("export", run / "classifier-dlsm", "--out", tmp_path / "one")
    assert code == 0, err
    assert "no licence is chosen" in out
    card = ModelCard.load(tmp_path / "one" / "README.md")
    assert (card.data.license, card.data.eval_results) == ("unknown", None)
    assert "No licence has been chosen" in card.text
    assert "by noise level" in card.text
    assert (tmp_path / "one" / "calibration" / "calibration.json").is_file()
    assert Classifier.load(tmp_path / "one").n_classes == 3
    code, _, err = condgen("export", run / "score", "--out", tmp_path / "two")
    assert code == 0, err
    assert "What was measured\n\nNothing." in (tmp_path / "two" / "README.md").read_text()


def test_settings_of_an_exported_model_are_those_of_its_stage(run, shared):
    stage = yaml.safe_load((run / "score" / "recipe.yaml").read_text())
    shown = json.loads((shared / "score" / "config.json").read_text())["stage"]
    assert shown["data"].pop("root") == "photos"
    del stage["data"]["root"]
    assert shown == stage


def test_an_export_is_whole_or_absent_and_replaces_nothing(run, shared, tmp_path, monkeypatch):
    from condgen.export import export, folder

    def fails(*_):
        raise UserError("no card today")

    monkeypatch.setattr(folder, "model_card", fails)
    with pytest.raises(UserError, match="no card today"):
        export(run, tmp_path / "out", "mit")
    assert list(tmp_path.iterdir()) == []
    before = (shared / "README.md").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        export(run, shared, "mit")
    assert (shared / "README.md").read_bytes() == before


def test_what_cannot_be_exported_is_said_in_one_line(run, condgen, tmp_path):
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    (unfinished / "classifier-dlsm" / "model.safetensors").unlink()
    for place, message in (
        (tmp_path / "none", "is not a folder"),
        (run.parent / "pri_vate", "holds no model"),
        (run / "samples" / "guided", "holds no model"),
        (unfinished, "classifier-dlsm is not finished"),
    ):
        code, _, err = condgen("export", place, "--out", tmp_path / "out")
        assert (code, message in err, len(err.strip().splitlines())) == (2, True, 1), err


# ----------------------------------------------------------------------------------------------------
# Pushing


class Api:
    """What `condgen push` needs of the hub's client."""

    calls: list
    error: Exception | None = None

    def create_repo(self, repository, **how):
        self.calls.append(("create", repository, how))
        if self.error is not None:
            raise self.error
        return huggingface_hub.RepoUrl("https://hub.example/me/pets")

    def create_commit(self, repository, operations, **how):
        sent = {}
        for operation in operations:
            with operation.as_file() as file:
                sent[operation.path_in_repo] = file.read()
        self.calls.append(("upload", sent, {"repo_id": repository, **how}))
        return type("Commit", (), {"repo_url": "hub.example/me/pets"})()


@pytest.fixture
def api(monkeypatch):
    """The client's class with a record of its calls."""
    monkeypatch.setattr(Api, "calls", [], raising=False)
    monkeypatch.setattr(Api, "error", None)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "RepoUrl", lambda url: type("Url", (), {"repo_id": url[-7:]})())
    return Api


def test_push_sends_the_folder_with_its_name_in_the_cards(shared, api, condgen):
    before = {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()}
    code, out, err = condgen("push", shared, "me/pets", "--private")
    assert code == 0, err
    assert "pushed: hub.example/me/pets" in out
    (create, repository, how), (upload, sent, where) = api.calls
    assert (create, repository, how["private"], how["exist_ok"]) == ("create", "me/pets", True, True)
    assert (upload, where["repo_id"], where["repo_type"]) == ("upload", "me/pets", "model")
    assert {"README.md", "score/config.json", "score/model.safetensors"} <= sent.keys()
    assert b"hf:me/pets/score" in sent["README.md"]
    assert b"hf:OWNER/NAME" not in sent["README.md"]
    assert {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()} == before
    assert {shared / file for file in sent} == set(before)


def test_the_cards_of_a_folder_stay_as_they_are_while_it_is_pushed(shared, api, condgen, monkeypatch):
    """Whatever ends a push, and SIGKILL above all, no card keeps the name of its repository."""
    before = (shared / "README.md").read_bytes()
    monkeypatch.setattr(api, "create_commit", lambda *_, **__: seen.append((shared / "README.md").read_bytes()))
    seen = []
    condgen("push", shared, "me/pets")
    assert seen == [before]


def test_later_work_in_an_exported_folder_is_not_pushed(shared, api, condgen, tmp_path):
    place = shutil.copytree(shared, tmp_path / "shared")
    exported = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    shutil.copytree(place / "classifier-dlsm", place / "my-secret-classifier")
    for file in (".env.json", "score/.lock", "score/README.md.png", "figures/mine.png"):
        (place / file).touch()
    _, out, _ = condgen("push", place, "me/pets", "--dry-run")
    assert {line.split()[-1] for line in out.splitlines()[:-1]} == exported
    assert condgen("push", place, "me/pets")[0] == 0
    assert api.calls[-1][1].keys() == exported


@pytest.mark.parametrize("key", ["files", "models"])
def test_a_folder_of_another_cannot_reach_out_of_itself(key, shared, api, condgen, tmp_path):
    place, other = shutil.copytree(shared, tmp_path / "shared"), shutil.copytree(shared, tmp_path / "other")
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {key: ["../other", "../other/README.md"]}))
    code, _, err = condgen("push", place, "me/pets")
    assert (code, len(err.strip().splitlines())) == ((2, 1) if key == "files" else (0, 0)), err
    assert all(not name.startswith("..") for call in api.calls for name in call[1])
    assert (other / "README.md").read_bytes() == (shared / "README.md").read_bytes()


def test_an_exported_file_that_is_gone_or_a_link_is_said(shared, api, condgen, tmp_path):
    place = shutil.copytree(shared, tmp_path / "shared")
    (place / "score" / "config.json").unlink()
    code, _, err = condgen("push", place, "me/pets")
    assert (code, "score/config.json is missing" in err, len(err.strip().splitlines())) == (2, True, 1)
    (place / "score" / "config.json").symlink_to(tmp_path / "private")
    code, _, err = condgen("push", place, "me/pets")
    assert (code, "symbolic link" in err, api.calls) == (2, True, [])


def test_a_dry_run_sends_nothing(shared, api, condgen):
    code, out, _ = condgen("push", shared, "me/pets", "--dry-run")
    assert (code, api.calls) == (0, [])
    assert "score/model.safetensors" in out
    assert "nothing was uploaded" in out


def _refused(status, told=None):
    answer = SimpleNamespace(status_code=status, headers={}, request=None, reason="refused", text="")
    return HfHubHTTPError("refused", response=answer, server_message=told)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalTokenNotFoundError("no token"), "hf auth login"),
        (_refused(403), "with a token that may write"),
        (_refused(400, '"license" must be\none of mit, ...'), '(400): "license" must be one of mit, ...'),
        (_refused(503), "answers (503)"),
        (ConnectionError("no\nnetwork"), "check the network"),
    ],
)
def test_push_fails_in_one_line(error, message, shared, api, condgen, monkeypatch):
    before = (shared / "README.md").read_bytes()
    monkeypatch.setattr(api, "error", error)
    code, _, err = condgen("push", shared, "me/pets")
    assert (code, message in err, len(err.strip().splitlines())) == (2, True, 1), err
    assert ("check the network" in err) == isinstance(error, ConnectionError)
    assert (shared / "README.md").read_bytes() == before


def test_push_takes_exported_folders_alone(run, shared, api, condgen, tmp_path):
    broken = shutil.copytree(shared, tmp_path / "broken")
    (broken / "score" / "model.safetensors").unlink()
    for place, repository, message in (
        (run, "me/pets", "is no exported folder"),
        (tmp_path / "none", "me/pets", "is no exported folder"),
        (broken, "me/pets", "export the run again"),
        (shared, "pets", "write owner/name"),
    ):
        code, _, err = condgen("push", place, repository)
        assert (code, message in err, api.calls) == (2, True, []), err


# ----------------------------------------------------------------------------------------------------
# Packing


def test_pack_takes_the_form_from_the_name(run, tmp_path, condgen):
    samples = run / "samples" / "guided"
    code, out, err = condgen("pack", samples, "--out", tmp_path / "s.tar", "--size", 8)
    assert code == 0, err
    assert out.count("of-00002.tar") == 2
    with tarfile.open(tmp_path / "s-00001-of-00002.tar") as tar:
        assert Image.open(tar.extractfile("00000008.png")).size == (4, 4)
        assert json.load(tar.extractfile("00000008.json"))["name"] == NAMES[2]
    code, _, err = condgen("pack", samples, "--out", tmp_path / "s.zip")
    assert (code, "neither .tar nor .parquet" in err) == (2, True)
    code, _, err = condgen("pack", tmp_path / "none", "--out", tmp_path / "none.tar")
    assert (code, len(err.strip().splitlines())) == (2, 1)


# ----------------------------------------------------------------------------------------------------
# TensorBoard


def test_tensorboard_follows_until_it_is_stopped(run, condgen, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    copy, waits = shutil.copytree(run, tmp_path / "run"), []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt
        with (copy / "score" / "log.jsonl").open("a") as file:
            file.write('{"step": 4, "loss": 1.0}\n')

    monkeypatch.setattr("condgen.cli.tensorboard.time.sleep", sleep)
    code, out, err = condgen("tensorboard", copy, "--follow", "--every", 0.5)
    assert code == 0, err
    assert (waits, "1 more" in out) == ([0.5, 0.5], True)
    assert list((copy / "tensorboard" / "score").glob("events.out.tfevents.*"))
