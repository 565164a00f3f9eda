"""Exports lead nowhere out of their folders, and their cards say nothing that is not so."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from condgen.checkpoint import save_tensors
from condgen.errors import UserError
from condgen.export.folder import Model, Source, _write_model, contents, export, model_card
from condgen.files import within
from condgen.metrics.measures import REAL, MetricRow
from condgen.report.load import Run
from condgen.score import ScoreConfig, ScoreModel

NETWORK = {"kind": "mlp", "width": 16, "depth": 1}
CONFIG = ScoreConfig.model_validate(
    {"network": NETWORK, "schedule": {"kind": "edm"}, "shape": (1, 4, 4), "names": ("ant", "bee"), "sigma_data": 0.5}
)
PART = {"network": NETWORK, "training": {"steps": 1}}
RECIPE = {"name": "r", "data": {"kind": "digits"}, "schedule": {"kind": "edm"}, "score": PART}


@pytest.fixture
def run(tmp_path):
    """The folder of a run with one model, whose samples are there."""
    folder = tmp_path / "run"
    save_tensors(folder / "score" / "model.safetensors", CONFIG.build().state_dict(), CONFIG.model_dump(mode="json"))
    (folder / "score" / "recipe.yaml").write_text("data: {kind: digits}\nscore: {}\n")
    (folder / "samples" / "plain").mkdir(parents=True)
    (folder / "samples" / "plain" / "grid.png").write_bytes(b"a picture")
    (folder / "run.json").write_text('{"name": "r", "stages": [{"stage": "score", "folder": "score"}]}')
    describe(folder)
    return folder


def describe(folder, method="plain", **parts):
    recipe = RECIPE | {"sample": {"per_class": 1, "methods": {method: {}}}} | parts
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def test_a_harmless_run_is_exported_and_its_files_are_listed(run, tmp_path):
    export(run, tmp_path / "out", "mit")
    assert (tmp_path / "out" / "figures" / "samples-plain.png").read_bytes() == b"a picture"
    files = contents(tmp_path / "out", "me/r")
    assert b"hf:me/r/score" in files.pop("README.md")
    names = {"config.json", "figures/samples-plain.png", "score/config.json", "score/model.safetensors"}
    assert files == {name: tmp_path / "out" / name for name in names}
    (tmp_path / "out" / "score" / "config.json").unlink()
    with pytest.raises(UserError, match="is missing"):
        contents(tmp_path / "out", "me/r")
    config = {"library_name": "condgen", "files": ["../run/run.json"]}
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="outside the folder"):
        contents(tmp_path / "out", "me/r")


def test_rounded_weights_take_half_the_room_and_differ_by_no_more_than_rounding(run, tmp_path):
    export(run, tmp_path / "exact", "mit")
    export(run, tmp_path / "rounded", "mit", rounded=True)
    sizes = [(tmp_path / name / "score/model.safetensors").stat().st_size for name in ("exact", "rounded")]
    assert sizes[1] < 0.65 * sizes[0]  # the description takes room too
    exact, rounded = (ScoreModel.load(tmp_path / name / "score").state_dict() for name in ("exact", "rounded"))
    for name, tensor in exact.items():
        error = (rounded[name] - tensor).abs()
        assert torch.all(error <= (2**-8 if tensor.ndim > 1 else 0) * tensor.abs())


def test_a_file_of_gigabytes_of_nothing_is_not_copied(run, tmp_path):
    with open(run / "samples/plain/grid.png", "wb") as sparse:
        sparse.truncate(8_000_000_000)
    with pytest.raises(UserError, match=r"grid.png .*it holds more than"):
        export(run, tmp_path / "out", "mit")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["names", "network", "shape"])
def test_a_model_that_says_too_little_is_no_traceback(run, key, tmp_path):
    about = CONFIG.model_dump(mode="json")
    del about[key]
    save_tensors(run / "score" / "model.safetensors", CONFIG.build().state_dict(), about)
    with pytest.raises(UserError, match="holds what condgen does not write"):
        export(run, tmp_path / "out", "mit")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["samples/plain/grid.png", "score/model.safetensors", "score"])
def test_links_out_of_the_run_are_not_followed_and_one_to_the_run_is(run, place, tmp_path):
    (tmp_path / "link").symlink_to(run)
    export(tmp_path / "link", tmp_path / "whole", "mit")
    (run / place).rename(tmp_path / "aside")
    (run / place).symlink_to(tmp_path / "aside")
    with pytest.raises(UserError, match="outside the folder"):
        export(run, tmp_path / "out", "mit")
    assert not (tmp_path / "out").exists()


def test_paths(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert within(tmp_path, "a/b") == tmp_path / "a" / "b"
    for name in ("..", "a/../../b", "/a", "a\0b", "loop"):
        with pytest.raises(UserError, match="outside the folder"):
            within(tmp_path, name)


@pytest.mark.parametrize("root", [".", "/"])
def test_data_that_lie_right_here_have_no_name(run, root, tmp_path):
    (run / "score" / "recipe.yaml").write_text(yaml.safe_dump({"data": {"kind": "folder", "root": root}, "score": {}}))
    export(run, tmp_path / "out", "mit")
    assert "data: folder, images" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "score" / "config.json").read_text())["stage"]["data"]["root"] == root


NETWORK = {"network": {"kind": "mlp"}, "shape": [1, 4, 4], "names": ["ant", "b|e*"], "labels": "none"}


def card(stage, kind="score model", **measured):
    model = Model(Path("nowhere"), "score", NETWORK | {"kind": kind}, stage, {}, parameters=10)
    return ModelCard(model_card(Source(Path("nowhere"), (model,), Run(Path("nowhere"), "r", **measured)), [], "mit"))


@pytest.mark.parametrize("data", [None, {"kind": "cifar10"}])
def test_nothing_is_claimed_of_the_data_of_an_imported_model(data):
    imported = card({"imported": "hf:them/ddpm@v1/unet", "data": data})
    assert imported.data.base_model == "them/ddpm"
    assert "data: it was trained by others, on data that are unknown here" in imported.text
    assert "What the unknown data lack or overstate" in imported.text
    assert "cifar10" not in imported.text
    own = card({"data": {"kind": "cifar10", "root": "/home/me/data"}}).text  # a library's, wherever they lie
    assert "data: cifar10, images of shape 1 x 4 x 4" in own
    assert "by others" not in own


def test_names_are_shown_as_they_are_written():
    assert "classes: 2 (ant, b\\|e\\*)" in card({}).text


def test_metrics_have_their_conditions_and_no_path():
    row = {"metric": "FD@100", "value": 1.25, "low": 1.0, "high": 1.5, "n": 1000, "features": "f", "floor": 1.0}
    row |= {"reference": "/home/me/pets train", "floor_n": 100, "seed": 0}
    metrics = [MetricRow(method=method, **row) for method in ("a", REAL)]
    made = card({"data": {"kind": "folder", "root": "/home/me/pets"}}, metrics=metrics)
    assert "Real data in the last row: 100." in made.text
    assert "/home/me" not in made.text


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("score model", "condgen sample --score hf:OWNER/NAME --n 16"),
        ("classifier", "condgen sample --score runs/RUN/score --classifier hf:OWNER/NAME --class 0"),
        ("generator", "condgen sample --generator hf:OWNER/NAME --class 0"),
    ],
)
def test_the_use_is_that_of_the_kind_of_model(kind, command):
    assert command in card({}, kind).text


def test_no_form_of_a_path_of_data_is_published():
    root = '/home/me/"pets"'
    model = Model(Path("nowhere"), "score", {}, {"data": {"kind": "folder", "root": root}}, {}, parameters=0)
    assert not any("/home/me" in model.public(text) for text in (root, json.dumps(root)))


def test_calibrations_are_of_the_weights_as_they_are(run, tmp_path):
    (run / "score" / "calibration").mkdir()
    (run / "score" / "calibration" / "calibration.json").write_text("{}")
    model = Model(run / "score", "ce", {"kind": "classifier"}, {}, {}, parameters=0)
    for rounded in (False, True):
        _write_model(model, tmp_path / str(rounded), rounded)
        assert (tmp_path / str(rounded) / "calibration").exists() != rounded
