"""Benches: what they ask for, and that their rows are tidy and true."""

import math
import time
from pathlib import Path

import pytest
import torch

from benchmarks import repeat_recipe, summarise_seeds
from benchmarks.curves import training_curves
from benchmarks.dlsm import bench_dlsm
from benchmarks.seeds import Fact, rows_over_seeds
from benchmarks.table1 import table_one
from benchmarks.timing import take_turns
from condgen.errors import UserError
from condgen.recipes import load_recipe
from condgen.training import Processes

RECIPES = Path(__file__).parents[2] / "recipes"
NETWORK = "{kind: mlp, width: 16, depth: 1, embedding: 8}"
SHORT = "{steps: 4, batch: 16, snapshots: [2]}"
TINY = (
    f"score.network={NETWORK}",
    f"score.training={SHORT}",
    f"scores.per-class.network={NETWORK}",
    f"scores.per-class.training={SHORT}",
    *(f"classifiers.{name}.{key}" for name in ("ce", "dlsm") for key in (f"network={NETWORK}", f"training={SHORT}")),
    "calibrate={levels: [5, 10], draws: 1}",
    "sample=null",
    "diagnose.levels=[5]",
    "diagnose.queries=20",
    "diagnose.grid.points=4",
)
KEYS = {"what", "variant", "size", "value", "unit"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    recipe = load_recipe(RECIPES / "moons.yaml", TINY)
    for _ in repeat_recipe(recipe, range(2), folder, Processes(cpu=True), "condgen bench"):
        pass
    return recipe, folder


def ended(work):
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def test_seeds_become_mean_and_standard_deviation():
    facts = [Fact("D", "a", "n", "m", value) for value in (1.0, 2.0, 3.0)] + [Fact("D", "b", "n", "m", 5.0)]
    rows = rows_over_seeds(facts)
    assert [(row["variant"], row["value"], row["sd"], row["seeds"]) for row in rows] == [
        ("a", 2, 1, 3),
        ("b", 5, None, 1),
    ]


def test_variants_take_turns():
    calls = []

    def work(name, seconds):
        def call():
            calls.append(name)
            time.sleep(seconds)

        return call

    timings = ended(take_turns({"a": work("a", 0.01), "b": work("b", 0.03)}, 3, torch.device("cpu"), least_seconds=0))
    assert calls == ["a", "a", "b", "b", *("a", "b") * 3]
    assert timings["b"] > 1.5 * timings["a"] >= 15


def test_the_gradient_bench_tells_exact_ways_from_others():
    rows = ended(bench_dlsm("digits", torch.device("cpu"), rounds=1))
    assert all(row.keys() == KEYS and math.isfinite(row["value"]) for row in rows)
    errors = {row["variant"]: row["value"] for row in rows if row["what"] == "gradient error"}
    for name in ("double backward", "double backward, framework's layers", "torch.func"):
        assert errors[name] < 1e-5
    assert errors["forward mode"] < 1e-3
    assert 1e-5 < errors["central difference, h = 0.05"] < 1e-2
    relative = {row["variant"]: row["value"] for row in rows if row["what"] == "relative step"}
    assert relative["cross-entropy"] == 1


def test_curves_follow_every_classifier_through_its_snapshots(runs):
    recipe, folder = runs
    rows = training_curves(recipe, range(2), folder, "condgen bench curves")["rows"]
    assert {row["variant"] for row in rows} == {"ce", "dlsm"}
    assert {row["size"].partition(",")[0] for row in rows} == {"step 2", "step 4"}
    assert {row["what"] for row in rows} == {"cross-entropy", "D_L"}
    final = {row["value"] for row in rows if row["size"] == "step 4, grid at noise level 7.5"}
    diagnosed = {
        row["value"]
        for row in summarise_seeds(recipe, range(2), folder, "")["rows"]
        if row["what"] == "D_L" and "grid" in row["size"] and row["variant"] in ("ce", "dlsm")
    }
    assert sorted(final) == pytest.approx(sorted(diagnosed), rel=1e-5)


def test_curves_need_snapshots(runs):
    _, folder = runs
    with pytest.raises(UserError, match="snapshots"):
        training_curves(load_recipe(RECIPES / "moons.yaml"), range(1), folder, "")


def test_table_one_has_errors_and_samples_of_every_method(runs):
    recipe, folder = runs
    rows = ended(table_one(recipe, range(2), folder, "condgen bench table1", per_class=60))["rows"]
    methods = set(recipe.diagnose.methods)
    by_what = {what: {row["variant"] for row in rows if row["what"] == what} for what in ("D_P", "D_L", "precision")}
    assert by_what["D_P"] == methods | {"zero guidance"}
    assert by_what["D_L"] == (methods - {"per-class"}) | {"zero guidance"}
    assert by_what["precision"] == methods | {"oracle", "noised data", "zero guidance"}
    for row in rows:
        if row["variant"] in ("oracle", "noised data") and row["what"] == "precision":
            assert row["value"] > 0.8  # exact scores give the distribution itself


def test_table_one_needs_a_grid(tmp_path):
    with pytest.raises(UserError, match=r"diagnose\.grid"):
        ended(table_one(load_recipe(RECIPES / "digits.yaml"), range(1), tmp_path, ""))
