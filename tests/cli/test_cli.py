"""The command line as a person meets it: what it prints, what it writes, and one line for every mistake."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from condgen.checkpoint import load_tensors, save_tensors
from condgen.runs import read_rows
from condgen.samplers import SAMPLERS, options_of

TINY = [
    *("--set", "score.network.width=16", "--set", "score.network.depth=1"),
    *("--set", "classifiers.ce.network.width=16", "--set", "classifiers.dlsm.network.width=16"),
    *("--set", "score.training.steps=3", "--set", "classifiers.ce.training.steps=3"),
    *("--set", "classifiers.dlsm.training.steps=3", "--set", "generators.sid.training.steps=3"),
    *("--set", "generators.smm.training.steps=3"),
    *("--set", "sample.per_class=3", "--set", "diagnose.queries=10"),
]
RECIPE = Path(__file__).parents[2] / "recipes" / "digits.yaml"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A finished tiny run of the digits recipe."""
    folder = tmp_path_factory.mktemp("cli") / "digits"
    command = [sys.executable, "-m", "condgen", "--threads", "1", "run", RECIPE, "--out", folder, *TINY]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


def test_run_leaves_everything_a_reader_needs(digits, condgen):
    for name in (
        "recipe.yaml",
        "run.json",
        "metrics.json",
        "diagnostics.json",
        "cost.json",
        "report.html",
        "report.md",
    ):
        assert (digits / name).stat().st_size > 0, name
    for method in ("unguided", "ce", "dlsm", "one-step"):
        assert len(read_rows(digits / "samples" / method / "manifest.jsonl")) == 30
        assert (digits / "samples" / method / "grid.png").exists()
    rows = json.loads((digits / "diagnostics.json").read_text())["rows"]
    assert {"method", "sigma", "weighting", "quantity", "mean", "sd", "n", "exact"} == set(rows[0])
    methods = {row["method"] for row in rows if "calibrated" not in row["method"]}
    assert methods == {"prior", "zero guidance", "ce", "dlsm", "ce-x10"}
    rows = json.loads((digits / "metrics.json").read_text())["rows"]
    assert {"method", "metric", "value", "low", "high", "n", "features", "reference", "floor", "seed"} <= set(rows[0])
    code, out, _ = condgen("run", RECIPE, "--out", digits, *TINY)
    assert code == 0
    assert "nothing left to do" in out
    assert out.rstrip().endswith("report.html")


def test_a_changed_recipe_reuses_what_it_can(digits, condgen, tmp_path):
    copy = tmp_path / "digits"
    shutil.copytree(digits, copy)
    before = (copy / "score" / "model.safetensors").stat().st_mtime_ns
    code, out, _ = condgen("run", RECIPE, "--out", copy, *TINY, "--set", "classifiers.ce.training.steps=4")
    assert code == 0
    assert (copy / "score" / "model.safetensors").stat().st_mtime_ns == before
    assert "classifier ce:" in out
    assert "classifier dlsm:" not in out
    assert "score:" not in out
    assert len(list(copy.glob("classifier-ce.before-*"))) == 1


def test_no_figure_of_an_earlier_recipe_is_left(digits, condgen, tmp_path):
    copy = tmp_path / "digits"
    shutil.copytree(digits, copy)
    changes = ("--set", "evaluate=false", "--set", "diagnose=null", "--set", "sample.methods={fast: {steps: 3}}")
    code, _out, err = condgen("run", RECIPE, "--out", copy, *TINY, *changes)
    assert code == 0, err
    assert not (copy / "metrics.json").exists()
    assert not (copy / "diagnostics.json").exists()
    html = (copy / "report.html").read_text()
    assert "fast" in html
    assert "one-step" not in html.split("How to reproduce")[0]


def test_run_leaves_other_peoples_folders_alone(digits, condgen, tmp_path):
    (tmp_path / "recipe.yaml").write_text("mine")
    for folder in (tmp_path, digits / "score"):
        before = (folder / "recipe.yaml").read_text()
        code, _, err = condgen("run", RECIPE, "--out", folder, *TINY)
        assert code == 2
        assert "error: " in err
        assert (folder / "recipe.yaml").read_text() == before


def test_sample_by_name_and_number(digits, condgen, tmp_path):
    models = ("--score", digits / "score", "--classifier", digits / "classifier-dlsm")
    options = ("--per-class", 4, "--steps", 3, "--seed", 100, "--out", tmp_path / "s")
    code, out, err = condgen("sample", *models, "--class", "3, 7", *options)
    assert code == 0, err
    rows = read_rows(tmp_path / "s" / "manifest.jsonl")
    assert [row["class"] for row in rows] == [3] * 4 + [7] * 4
    assert [row["seed"] for row in rows] == list(range(100, 108))
    assert "8 samples, 3 network evaluations each" in out
    with Image.open(tmp_path / "s" / "grid.png") as grid:
        assert grid.width > 100
    code, out, _ = condgen("sample", *models, "--class", "3, 7", *options)
    assert (code, "nothing left to do" in out) == (0, True)


def test_every_kind_of_sampler_draws(digits, condgen, tmp_path):
    models = ("--score", digits / "score", "--classifier", digits / "classifier-dlsm", "--class", "3", "--per-class", 2)
    for number, (options, cost) in enumerate(
        (
            (("--sampler", "dpm++2m", "--nfe", 8), "8 network evaluations each"),
            (("--sampler", "ddim", "--option", "eta=0.5", "--steps", 5, "--grid", "uniform"), "5 network evaluations"),
            (("--sampler", "adaptive-multistep", "--option", "relative=0.5"), "network evaluations each"),
        )
    ):
        code, out, err = condgen("sample", *models, *options, "--out", tmp_path / str(number))
        assert code == 0, err
        assert cost in out
    rows = [read_rows(tmp_path / str(number) / "manifest.jsonl")[0] for number in range(3)]
    assert rows[1]["options"] == {"eta": 0.5}
    assert [row["grid"] for row in rows[:2]] == ["log-snr", "uniform"]
    assert rows[2]["evaluations"] == rows[2]["steps"] + 1


def test_samplers_are_listed_and_described(condgen):
    code, out, _ = condgen("samplers")
    assert code == 0
    for name in SAMPLERS:
        assert name in out
        code, description, _ = condgen("samplers", name)
        assert code == 0
        assert SAMPLERS[name].info.paper in description
        for option, field in options_of(name).model_fields.items():
            default = "(not set)" if field.default is None else field.default
            assert f"--option {option}={default}" in description
            assert field.description in " ".join(description.split())


def test_single_stages_chain(digits, condgen, tmp_path):
    small = ("--steps", 3, "--batch", 16)
    teacher = ("--teacher", tmp_path / "score", "--classifier", tmp_path / "c")
    for verb in (
        ("train-score", "--out", tmp_path / "score", "--set", "score.network.width=16"),
        ("train-classifier", "--loss", "dlsm", "--score", tmp_path / "score", "--out", tmp_path / "c"),
        ("train-classifier", "--loss", "ce", "--out", tmp_path / "ce"),
        ("train-generator", "--recipe", RECIPE, *teacher, "--out", tmp_path / "g"),
    ):
        code, out, err = condgen(*verb, *small)
        assert code == 0, err
        assert "digits: 1,437 8x8 images, 10 classes" in out
    _, about = load_tensors(tmp_path / "c" / "model.safetensors")
    assert about["kind"] == "classifier"
    assert "loss: dlsm" in (tmp_path / "c" / "recipe.yaml").read_text()
    code, _, err = condgen("sample", "--generator", tmp_path / "g", "--class", "1", "--out", tmp_path / "s")
    assert code == 0, err
    code, out, err = condgen("evaluate", tmp_path / "s", "--out", tmp_path / "e")
    assert code == 0, err
    assert "class accuracy" in " ".join(out.split())
    diagnosis = ("--score", tmp_path / "score", "--classifier", tmp_path / "c", "--classifier", tmp_path / "ce")
    code, _, err = condgen("diagnose", *diagnosis, "--levels", "0.5,2", "--queries", 9, "--out", tmp_path / "d")
    assert code == 0, err
    assert (tmp_path / "d" / "report.html").exists()


def test_report_and_doctor(digits, condgen):
    code, out, _ = condgen("report", digits)
    assert code == 0
    assert "report.html" in out
    code, out, _ = condgen("doctor")
    assert code == 0
    for word in ("torch", "threads", "free disk", "data: digits", "1,437 training samples"):
        assert word in out, word


def test_the_readme_runs_from_python_too(digits, monkeypatch, tmp_path):
    readme = (RECIPE.parents[1] / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(digits)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(snippet, names)
    assert names["x"].shape == (8, 1, 8, 8)


def damaged(path: Path, target: Path) -> Path:
    target.mkdir()
    (target / "recipe.yaml").write_text((path / "recipe.yaml").read_text())
    whole = (path / "model.safetensors").read_bytes()
    (target / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    return target


def test_every_mistake_is_one_line_and_no_traceback(digits, condgen, tmp_path):
    half = damaged(digits / "score", tmp_path / "half")
    other = tmp_path / "other"
    other.mkdir()
    tensors, about = load_tensors(digits / "classifier-ce" / "model.safetensors")
    about["network"]["width"] = 48
    save_tensors(other / "model.safetensors", tensors, about)
    one_class = tmp_path / "photos"
    (one_class / "cat").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(one_class / "cat" / "a.png")
    typo = tmp_path / "typo.yaml"
    typo.write_text(RECIPE.read_text().replace("steps:", "stesp:"))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("mine")
    score, ce = digits / "score", digits / "classifier-ce"
    cases = [
        (("run", "recipes/none.yaml"), "no recipe at recipes/none.yaml"),
        (("run", typo), "did you mean 'steps'?"),
        (("run", RECIPE, "--set", "score.training.steps=-5"), "greater than 0"),
        (("run", RECIPE, "--set", "data={kind: cifar10, root: /nowhere}"), "CONDGEN_DATA"),
        (("run", RECIPE, "--out", foreign / "mine.txt"), "mine.txt"),
        (("train-score", "--data", "digit"), "did you mean 'digits'"),
        (("train-score", "--data", tmp_path / "nothing"), "nothing"),
        (("train-score", "--data", one_class), "class"),
        (("train-score", "--steps", "-1"), "greater than or equal to 1"),
        (("train-score", "--out", foreign, "--steps", "1"), "files that condgen did not write"),
        (("train-score", "--data", "digits", "--recipe", RECIPE), "exclude each other"),
        (("train-score", "--lr", "0", "--out", tmp_path / "x"), "greater than 0"),
        (("train-classifier", "--score", tmp_path / "none"), "none"),
        (("train-classifier", "--loss", "hinge"), "'hinge' is not one of"),
        (("train-classifier", "--score", ce, "--out", tmp_path / "x"), "score"),
        (("train-generator", "--set", "generator.objective.loss=gan"), "say --loss sid, dmd or smm"),
        (("sample",), "--score DIR"),
        (("sample", "--score", tmp_path / "none"), "does not exist"),
        (("sample", "--score", score, "--class", "3"), "needs --classifier DIR"),
        (("sample", "--score", score, "--classifier", ce, "--class", "cat"), "no class 'cat'"),
        (("sample", "--score", half), "damaged or cut short"),
        (("sample", "--score", ce), "holds a classifier, where a score model is needed"),
        (("sample", "--score", score, "--classifier", other), "does not fit the architecture"),
        (("sample", "--score", score, "--steps", "-3"), "greater than or equal to 2"),
        (("sample", "--score", score, "--sampler", "huen"), "'huen' is not one of"),
        (("sample", "--score", score, "--scale", "nan"), "finite"),
        (("sample", "--score", score, "--sampler", "ddim", "--option", "et=1"), "did you mean 'eta'"),
        (("sample", "--score", score, "--option", "eta"), "--option 'eta' is not of the form"),
        (("sample", "--score", score, "--sampler", "adaptive-sde", "--nfe", "20"), "chooses its own steps"),
        (("sample", "--score", score, "--steps", "20", "--nfe", "20"), "leave one of the two out"),
        (("sample", "--score", score, "--sampler", "heun", "--nfe", "2"), "needs at least 3 evaluations"),
        (
            ("sample", "--score", score, "--sampler", "dpm++2m", "--option", "eta=1"),
            "eta: no such setting; there is none",
        ),
        (("sample", "--score", score, "--sampler", "restart", "--steps", "3"), "needs at least 5 points"),
        (("sample", "--generator", score, "--sampler", "heun"), "draws in one step: leave out sampler"),
        (("sample", "--score", score, "--classifier", ce, "--interval", "5", "1"), "from low to high"),
        (("sample", "--score", score, "--seed", "5000000000"), "seed"),
        (("sample", "--score", score, "--n", "9", "--per-class", "2"), "leave one of the two out"),
        (("sample", "--score", score, "--n", "0"), "greater than or equal to 1"),
        (("sample", "--score", score, "--shard", "3"), "--shard is I/N, such as 1/8"),
        (("sample", "--score", score, "--shard", "9/8"), "of 8 shards there is no number 9"),
        (("sample", "--score", score, "--shard", "0/8"), "greater than or equal to 1"),
        (("sample", "--score", score, "--n", "3", "--shard", "1/4"), "3 samples cannot be spread over 4 shards"),
        (("sample", "--score", score, "--precision", "float16"), "'float16' is not one of"),
        (("sample", "--score", score, "--scale", "2"), "name a classifier or a guide"),
        (("sample", "--score", score, "--scale", "lots"), "a finite number, or the word calibrated"),
        (("sample", "--score", score, "--classifier", ce, "--guide", "unlabelled"), "not both"),
        (("sample", "--score", score, "--guide", "unlabelled", "--scale", "2"), "train-score --conditional"),
        (("sample", "--score", score, "--guide", tmp_path / "none", "--scale", "2"), "train it first"),
        (("sample", "--generator", score, "--guide", "unlabelled"), "stands alone"),
        (("train-score", "--conditional", "--labels", "separate"), "leave one of the two out"),
        (("train-score", "--conditional", "--label-dropout", "2"), "less than 1"),
        (("diagnose", "--score", score), "nothing to diagnose"),
        (("diagnose", "--score", score, "--set", "methods={a: {guide: b}}"), "no score model 'b'"),
        (("train-generator", "--out", score, "--steps", "1"), "stage of another kind"),
        (("run", RECIPE, "--set", "diagnose.levels=[1000]"), "outside the schedule"),
        (("run", RECIPE, "--set", "diagnose.levels=[1, 1]"), "stands twice"),
        (("sample", "--generator", score), "holds a score model, where a generator is needed"),
        (("sample", "--generator", score, "--score", score), "stands alone"),
        (("evaluate", tmp_path / "none"), "holds no manifest.jsonl"),
        (("evaluate", digits / "samples" / "ce", "--data", "moons"), "shape"),
        (("diagnose", "--score", half, "--classifier", ce), "damaged or cut short"),
        (("diagnose", "--score", score, "--classifier", ce, "--levels", "0.1,many"), "levels"),
        (("diagnose", "--score", score, "--classifier", ce, "--levels", "1e9"), "outside the schedule"),
        (("report", tmp_path / "none"), "none"),
        (("train-classifier", "--loss", "ce", "--ce-weight", "2"), "are about DLSM"),
        (("train-classifier", "--preset", "ce", "--loss", "dlsm"), "leave one of the two out"),
        (("frobnicate",), "No such command"),
    ]
    problems = []
    for number, (arguments, message) in enumerate(cases):
        out = (
            ()
            if "--out" in arguments or arguments[0] in ("report", "frobnicate")
            else ("--out", tmp_path / f"o{number}")
        )
        code, _, err = condgen(*arguments, *out)
        flat = " ".join(err.replace("│", " ").split())
        one_line = not err.startswith("error: ") or err.count("\n") == 1
        if code != 2 or message not in flat or "Traceback" in err or not one_line:
            problems.append((arguments, message, code, err))
    assert not problems


def test_bad_numbers_in_data_are_named(tmp_path):
    from condgen.data import LabelledSet
    from condgen.errors import UserError

    x = torch.zeros(4, 2)
    x[2, 1] = float("nan")
    with pytest.raises(UserError, match=r"(?i)nan|finite"):
        LabelledSet(x=x, y=torch.tensor([0, 1, 0, 1]), names=("a", "b"), source="points", split="train")


TRAINING = [sys.executable, "-m", "condgen", "--threads", "1", "train-score", "--steps", "400", "--batch", "64"]
TRAINING += ["--set", "score.network.width=32", "--set", "score.training.log_every=10"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The weights of `TRAINING` when nobody interferes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run([*TRAINING, "--out", folder], capture_output=True, check=True)
    return load_tensors(folder / "model.safetensors")[0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_loses_nothing(number, code, uninterrupted, tmp_path):
    started = subprocess.Popen([*TRAINING, "--out", tmp_path / "run"], stdout=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    asked = time.monotonic()
    started.send_signal(number)
    out, _ = started.communicate(timeout=30)
    assert time.monotonic() - asked < 5
    assert started.returncode == code
    assert "the same command goes on from here" in out
    _, about = load_tensors(tmp_path / "run" / "state" / "state.safetensors")
    assert 0 < about["step"] < 400
    again = subprocess.run([*TRAINING, "--out", tmp_path / "run"], capture_output=True, text=True, check=True)
    assert again.stderr == ""
    found, _ = load_tensors(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(uninterrupted[name], found[name]) for name in found)


def test_help_of_every_verb(condgen):
    verbs = ("run", "train-score", "train-classifier", "train-generator", "sample", "evaluate", "diagnose", "report")
    shared = ("import-diffusers", "export", "push", "pack", "tensorboard")
    for verb in (*verbs, *shared, "doctor"):
        code, out, _ = condgen(verb, "--help")
        assert code == 0
        assert "Usage" in out


def test_calibrate_measures_a_classifier_into_its_own_folder(digits, condgen, tmp_path):
    place = tmp_path / "classifier-ce"
    place.mkdir()
    for file in ("model.safetensors", "recipe.yaml", "log.jsonl"):
        shutil.copy(digits / "classifier-ce" / file, place)
    words = ("calibrate", "--classifier", place, "--score", digits / "score", "--levels", "0.5,2,8", "--draws", 1)
    code, out, err = condgen(*words)
    assert code == 0, err
    assert "calibrate ce: 3 of 3" in out
    assert "Held-out samples: 360; noise draws of each: 1" in out
    assert all(len(line) <= 80 for line in out.split("plots:")[0].splitlines())
    with Image.open(place / "calibration" / "calibration.png") as picture:
        assert picture.width > picture.height > 500
    found = json.loads((place / "calibration" / "calibration.json").read_text())
    assert found["curve"]["levels"] == [0.5, 2, 8]
    assert min(found["curve"]["scales"]) >= 0
    code, out, _ = condgen(*words)
    assert code == 0
    assert "nothing left to do" in out
    code, _, err = condgen("report", place)
    assert code == 0, err
    assert "Is the classifier any good" in (place / "report.html").read_text()


def test_calibrate_says_in_one_line_what_is_wrong(digits, condgen, tmp_path):
    score, ce = digits / "score", digits / "classifier-ce"
    before = sorted(ce.rglob("*"))
    for words, message in (
        (("--classifier", tmp_path, "--score", score), "no recipe at"),
        (("--classifier", score, "--score", score), "no such setting"),
        (("--classifier", ce, "--score", ce), "holds a classifier, where a score model is needed"),
        (("--classifier", ce, "--score", score, "--levels", "2,1"), "must rise"),
        (("--classifier", ce, "--score", score, "--levels", "1,5000"), "outside the schedule's range"),
    ):
        code, _, err = condgen("calibrate", *words)
        assert code == 2, words
        assert message in err, err
        assert len(err.strip().splitlines()) == 1
    assert [path for path in sorted(ce.rglob("*")) if path.name != ".lock"] == before
