"""`condgen sample`: classes, samplers, guidance, precision, full disks, mistakes."""

import itertools

import pytest
import torch
from PIL import Image

from condgen import EDM, MLPSettings, UserError
from condgen.checkpoint import load_tensors, save_tensors
from condgen.files import append
from condgen.runs import sample_folder
from condgen.runs.folder import read_json, read_rows
from condgen.score import ScoreConfig
from tests.cli.conftest import bad, good


def pictures(folder):
    """Bytes and rows of the samples, by seed."""
    rows = {row["seed"]: row for row in read_rows(folder / "manifest.jsonl")}
    return {seed: (folder / row["file"]).read_bytes() for seed, row in rows.items()}, rows


def test_classes_by_name_and_number(digits, tmp_path):
    models = ("--score", digits / "score", "--classifier", digits / "classifier-dlsm")
    command = (*models, "--class", "3, 7", "--per-class", 4, "--steps", 3, "--seed", 100, "--out", tmp_path)
    out = good("sample", *command)
    rows = read_rows(tmp_path / "manifest.jsonl")
    assert [row["class"] for row in rows] == [3, 7] * 4
    assert [row["seed"] for row in rows] == list(range(100, 108))
    assert "8 samples, 3 network evaluations each" in out
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width > 100
    assert "nothing left to do" in good("sample", *command)


@pytest.mark.parametrize(
    ("words", "evaluations"),
    [
        (("--sampler", "dpm++2m", "--nfe", 8), 8),
        (("--sampler", "ddim", "--option", "eta=0.5", "--steps", 5, "--set", "method.grid=uniform"), 5),
        (("--sampler", "adaptive-ode", "--option", "relative=0.5"), None),
        (("--scale", 2, "--interval", "0.1,10", "--steps", 3), 3),
    ],
)
def test_settings_of_a_method(words, evaluations, digits, tmp_path):
    models = ("--score", digits / "score", "--classifier", digits / "classifier-ce")
    good("sample", *models, "--class", "3", "--per-class", 2, *words, "--out", tmp_path)
    row = read_rows(tmp_path / "manifest.jsonl")[0]
    assert evaluations in (None, row["evaluations"])
    if "eta=0.5" in words:
        assert (row["options"], row["grid"]) == ({"eta": 0.5}, "uniform")
    if "--interval" in words:
        assert (row["scale"], row["interval"]) == (2.0, [0.1, 10.0])


def test_precision_is_of_the_samples_and_compilation_is_not(digits, monkeypatch, tmp_path):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: compiled.append(how))
    command = ("sample", "--generator", digits / "generator-sid", "--n", 20)
    good(*command, "--out", tmp_path / "plain")
    assert "nothing left to do" in good(*command, "--set", "compile=true", "--out", tmp_path / "plain")
    light = ("--set", "method.precision=bfloat16", "--set", "compile=true")
    good(*command, *light, "--out", tmp_path / "light")
    assert len(compiled) == 2
    assert {row["precision"] for row in read_rows(tmp_path / "light" / "manifest.jsonl")} == {"bfloat16"}
    assert pictures(tmp_path / "plain")[0] != pictures(tmp_path / "light")[0]


@pytest.mark.parametrize("fails", [1, 3])
def test_a_full_disk_loses_no_more_than_a_batch(fails, digits, monkeypatch, tmp_path):
    command = ("sample", "--score", digits / "score", "--steps", 2, "--n", 24, "--batch", 8)
    good(*command, "--out", tmp_path / "whole")
    calls = itertools.count(1)

    def append_or_fail(path, text):
        if next(calls) >= fails:
            raise UserError(f"cannot write {path}: No space left on device")
        append(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(sample_folder, "append", append_or_fail)
        assert "No space left on device" in bad(*command, "--out", tmp_path / "cut")
    assert len(read_rows(tmp_path / "cut" / "manifest.jsonl")) == 8 * (fails - 1)
    good(*command, "--out", tmp_path / "cut")
    assert pictures(tmp_path / "cut") == pictures(tmp_path / "whole")
    records = [read_json(tmp_path / name / "stage.json") for name in ("cut", "whole")]
    assert records[0]["evaluations_per_image"] == records[1]["evaluations_per_image"]


def test_mistakes(digits, tmp_path):
    score, ce = digits / "score", digits / "classifier-ce"
    tensors, about = load_tensors(ce / "model.safetensors")
    about["network"] = {"kind": "import", "target": "somebody.module:Network", "options": {}}
    save_tensors(tmp_path / "foreign" / "model.safetensors", tensors, about)
    for words, message in (
        ((), "--score DIR"),
        (("--score", tmp_path / "none"), "does not exist"),
        (("--score", score, "--class", "3"), "needs --classifier DIR"),
        (("--score", score, "--classifier", ce, "--class", "cat"), "no class 'cat'"),
        (("--score", ce), "holds a classifier, where a score model is needed"),
        (("--score", score, "--classifier", tmp_path / "foreign"), "--trust"),
        (("--score", score, "--classifier", tmp_path / "foreign", "--trust"), "cannot be imported"),
        (("--score", score, "--steps", "-3"), "method.steps"),
        (("--score", score, "--sampler", "huen"), "huen"),
        (("--score", score, "--option", "eta"), "--option 'eta' is not of the form"),
        (("--generator", score, "--sampler", "heun"), "one step"),
        (("--score", score, "--classifier", ce, "--interval", "5,1"), "from low to high"),
        (("--score", score, "--seed", "5000000000"), "seed"),
        (("--pretrained", "cifar10", "--generator", score), "give one of --pretrained NAME"),
        (("--generator", score, "--classifier", ce), "give one of --pretrained NAME"),
        (("--score", score, "--n", "9", "--per-class", "2"), "leave one of the two out"),
        (("--score", score, "--guide", "unlabelled", "--scale", "2"), "--conditional"),
    ):
        assert message in bad("sample", *words, "--out", tmp_path / "x"), words


def test_models_that_come_with_condgen_draw_what_is_asked_for(tmp_path):
    good("sample", "--pretrained", "cifar10", "--class", "cat,ship", "--per-class", 1, "--nfe", 4, "--out", tmp_path)
    assert [row["name"] for row in read_rows(tmp_path / "manifest.jsonl")] == ["cat", "ship"]
    assert "name one of cifar10" in bad("sample", "--pretrained", "cifar11", "--class", "cat")


def test_class_names_with_commas_can_be_chosen(tmp_path):
    about = {"network": MLPSettings(width=8, depth=1), "labels": "embedding", "schedule": EDM(), "sigma_data": 0.5}
    names = ("bread, white", "rice", "salt")
    ScoreConfig.model_validate(about | {"shape": (2,), "names": names}).build().save(tmp_path / "score")
    for text, chosen in (("bread, white", names[:1]), ('rice,"bread, white"', (names[1], names[0])), ("2", names[2:])):
        out = tmp_path / text
        good("sample", "--score", tmp_path / "score", "--class", text, "--per-class", 1, "--nfe", 3, "--out", out)
        assert tuple(row["name"] for row in read_rows(out / "manifest.jsonl")) == chosen
