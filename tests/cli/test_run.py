"""`condgen run`: what it leaves, what it reuses, sizes and dry runs."""

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from condgen.cli.run import profiled
from condgen.recipes.compose import compose, sizes_of
from condgen.runs.folder import read_json, read_rows
from condgen.runs.stage import Progress
from tests.cli.conftest import bad, good

RECIPES = Path(__file__).parents[2] / "recipes"


def test_a_run_leaves_everything_a_reader_needs(digits, recipe):
    for name in ("recipe.yaml", "run.json", "metrics.json", "diagnostics.json", "cost.json", "report.html"):
        assert (digits / name).stat().st_size > 0, name
    for method in ("unguided", "dlsm", "free", "one-step"):
        assert len(read_rows(digits / "samples" / method / "manifest.jsonl")) == 30
        assert (digits / "samples" / method / "grid.png").exists()
    assert (digits / "samples.png").exists()
    methods = {row["method"] for row in read_json(digits / "diagnostics.json")["rows"]}
    assert {"prior", "zero guidance", "ce", "dlsm", "ce x10"} <= methods
    keys = {"method", "metric", "value", "low", "high", "n", "features", "reference", "floor", "seed"}
    assert keys <= read_json(digits / "metrics.json")["rows"][0].keys()
    out = good("run", recipe, "--out", digits)
    assert "nothing left to do" in out
    assert out.rstrip().endswith("report.html")


def test_a_changed_recipe_reuses_what_it_can(digits, recipe, tmp_path):
    copy = shutil.copytree(digits, tmp_path / "tiny")
    before = (copy / "score" / "model.safetensors").stat().st_mtime_ns
    changes = ("--set", "classifiers.ce.training.steps=2", "--set", "evaluate=false", "--set", "diagnose=null")
    methods = ("--set", "sample.methods={fast: {steps: 2}}")
    out = good("run", recipe, "--out", copy, *changes, *methods)
    assert (copy / "score" / "model.safetensors").stat().st_mtime_ns == before
    assert "classifier ce:" in out
    assert "classifier dlsm:" not in out
    assert len(list(copy.glob("classifier-ce.before-*"))) == 1
    for file in ("metrics.json", "diagnostics.json"):  # of the earlier recipe
        assert not (copy / file).exists()


def test_a_size_has_a_folder_of_its_own(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree = {key: value for key, value in yaml.safe_load(recipe.read_text()).items() if key in ("data", "schedule")}
    score = yaml.safe_load(recipe.read_text())["score"] | {"training": {"steps": 2, "batch": 8}}
    sizes = {"small": {"score": {"training": {"steps": 3}}}, "smaller": {"score": {"training": {"steps": 1}}}}
    sized = tree | {"name": "sized", "score": score, "sizes": sizes}
    (tmp_path / "sized.yaml").write_text(yaml.safe_dump(sized))
    good("run", "sized.yaml", "--size", "small")
    found = yaml.safe_load((tmp_path / "runs" / "sized-small" / "recipe.yaml").read_text())
    assert found["score"]["training"]["steps"] == 3
    good("train-score", "--recipe", "sized.yaml", "--size", "smaller", "--out", "one")
    assert yaml.safe_load((tmp_path / "one" / "recipe.yaml").read_text())["score"]["training"]["steps"] == 1
    assert "choose one with --size small, --size smaller" in bad("run", "sized.yaml")
    assert "--size small" in bad("run", "sized.yaml", "--size", "smal")
    assert "name it with --recipe" in bad("train-score", "--size", "smaller", "--out", "other")


def test_a_dry_run_lists_every_stage_with_its_state_and_leaves_nothing(digits, recipe, tmp_path):
    out = good("run", recipe, "--out", tmp_path / "runs", "--dry-run")
    assert not (tmp_path / "runs").exists()
    for word in ("score", "sample unguided", "to do", "30 samples"):
        assert word in out
    assert "to do" not in good("run", recipe, "--out", digits, "--dry-run")


def test_seeds_are_compared_in_one_report(recipe, tmp_path):
    few = ("--set", "classifiers={}", "--set", "scores={}", "--set", "generators={}", "--set", "calibrate=null")
    few += ("--set", "sample={per_class: 3, methods: {unguided: {steps: 2}}}", "--set", "diagnose=null")
    out = good("run", recipe, *few, "--seeds", 2, "--out", tmp_path / "runs")
    rows = read_json(tmp_path / "runs" / "report.json")["rows"]["metrics"]
    assert {(row["method"], row["seeds"]) for row in rows if row["metric"] == "recall"} >= {("unguided", 2)}
    assert "standard deviation over 2 seeds" in " ".join(out.split())


def test_reports_of_one_run_and_of_several(digits, tmp_path):
    assert good("report", digits).rstrip().endswith("report.html")
    other = shutil.copytree(digits, tmp_path / "other")
    out = tmp_path / "comparison"
    good("report", digits, other, "--out", out)
    page = (out / "report.html").read_text()
    assert "tiny" in page
    assert "other" in page
    assert "its own folder" in bad("report", digits, "--out", out)
    assert "nothing" in bad("report", tmp_path / "nothing")


def test_recipes_that_come_with_condgen_are_run_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = good("recipes")
    for path in RECIPES.glob("**/*.yaml"):
        name = path.relative_to(RECIPES).with_suffix("").as_posix()
        assert f"{name} " in listed
        copy = tmp_path / "mine.yaml"
        copy.write_text(good("recipes", name))
        for size in sizes_of(path) or [None]:
            assert compose(copy, size) == compose(path, size)
    assert "score" in good("run", "digits", "--dry-run")
    assert "did you mean 'digits'?" in bad("run", "digit")
    assert "there is no recipe 'digit'" in bad("recipes", "digit")
    (tmp_path / "digits").write_text("mine")
    assert "must be a mapping" in bad("run", "digits")  # what lies here comes first


def test_several_seeds_need_a_folder_of_their_own_and_have_a_plan(digits, recipe, tmp_path):
    assert "folder of one run" in bad("run", recipe, "--out", digits, "--seeds", "2")
    out = good("run", recipe, "--out", tmp_path / "new", "--seeds", "2", "--dry-run")
    assert "seed-0" in out
    assert "seed-1" in out


def test_a_profile_ends_with_its_stage(tmp_path):
    """Samples are counted, a batch of them at a step: a stage may end before three steps are recorded."""

    def work():
        yield from (Progress("sample a", done, 360) for done in (80, 160, 240, 320, 360))
        for done in range(1, 8):
            torch.ones(2).sum()
            yield Progress("sample b", done, 7)

    messages = [event.message for event in profiled(work(), tmp_path) if event.message]
    assert [text.partition(",")[0] for text in messages] == ["sample a", "sample b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sample-a.json.gz", "sample-b.json.gz"]


def test_a_profile_tells_where_time_goes(recipe, tmp_path):
    parts = ("calibrate=null", "sample=null", "evaluate=false", "diagnose=null", "generators={}", "scores={}")
    changes = [word for part in (*parts, "score.training.steps=8") for word in ("--set", part)]
    out = good("run", recipe, "--out", tmp_path / "run", "--profile", *changes)
    assert "networks" in out
    with gzip.open(tmp_path / "run" / "profile" / "score.json.gz") as file:
        assert json.load(file)["traceEvents"]
    (shares,) = re.findall(r"score, time: (.*); ", " ".join(out.split()))
    assert sum(map(int, re.findall(r"(\d+)%", shares))) == pytest.approx(100, abs=4)
    assert "one process" in bad("run", recipe, "--profile", "--jobs", "2")
