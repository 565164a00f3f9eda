"""Benches of samplers, in miniature: what their rows say of samplers whose quality is known."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import repeat_recipe
from benchmarks.parts import combine
from benchmarks.samplers.bias import Case, bias_rows
from benchmarks.samplers.exact import exact_rows
from benchmarks.samplers.grids import grid_rows
from benchmarks.samplers.peers import peer_loops
from benchmarks.samplers.quality import distances, quality_rows
from benchmarks.samplers.speed import BARE, speed_rows
from benchmarks.samplers.tolerances import PUBLISHED, tolerance_rows
from benchmarks.samplers.work import (
    BASELINE,
    NEVER,
    PAIRED,
    REACHED,
    Point,
    Problem,
    Way,
    as_facts,
    best_within,
    comparison_facts,
    first_to_reach,
    measure,
    slack,
    ways,
)
from condgen.data import LabelledSet
from condgen.errors import UserError
from condgen.oracle import Oracle
from condgen.recipes import load_recipe
from condgen.schedules import EDM
from condgen.training import Processes


def ended(work):
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def value(rows, what, variant, size=""):
    (found,) = [row for row in rows if row["what"] == what and row["variant"] == variant and size in row["size"]]
    return found["value"]


@pytest.fixture(scope="module")
def noise_images():
    """16 images of random grey levels, 3x32x32."""
    x = torch.randint(256, (16, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return LabelledSet(x, torch.arange(16) % 2, ("a", "b"), "noise", "train")


# ----------------------------------------------------------------------------------------------------
# Tolerances and bias


def test_tolerances_near_the_published_ones_for_any_images(noise_images):
    rows = ended(tolerance_rows(noise_images, 16, 3, torch.device("cpu"), [0.05, 0.1]))
    for schedule, setting in PUBLISHED.items():
        for tolerance in (0.05, 0.1):
            variant = f"{schedule}, relative {tolerance:g}"
            lockstep = value(rows, "lockstep evaluations", variant)
            assert value(rows, "ratio to published", variant) == lockstep / setting.counts[tolerance]
            assert 0.7 < lockstep / setting.counts[tolerance] < 1.3
            assert value(rows, "evaluations per sample", variant) <= lockstep + 1  # a slope is kept, none waits
            assert 0 <= value(rows, "rejected", variant) < 0.4
        assert value(rows, "rejected", f"{schedule}, relative 0.1") > 0


@pytest.mark.cifar
@pytest.mark.slow
def test_tolerances_cost_what_the_paper_says():
    from condgen.data import load, parse_data

    try:
        data = load(parse_data("cifar10"), "train")
    except UserError as error:
        pytest.skip(str(error))
    for row in ended(tolerance_rows(data, 500, 16, torch.device("cpu"))):
        if row["what"] == "ratio to published":
            assert abs(row["value"] - 1) < 0.1, row


def test_the_bias_bench_sees_the_noise_that_is_drawn_anew():
    cases = [Case("heun", 60), Case("adaptive-sde", None, {"redraw": True}), Case("adaptive-sde", None)]
    rows = ended(bias_rows(cases, {1: 300}))
    assert len(rows) == 2 * (3 * 2 + 1)
    for schedule in ("VE", "VP"):
        assert value(rows, "bias beyond tolerance", "adaptive-sde, redraw=True", schedule) > 0.3
        for sampler in ("heun", "adaptive-sde"):
            assert abs(value(rows, "bias of the std", sampler, schedule)) < 0.14
        assert value(rows, "evaluations", "heun", schedule) == 59


# ----------------------------------------------------------------------------------------------------
# Work and precision


def points(what="error", problem="p"):
    """Three seeds: Euler-Maruyama at 1.0 with a common part of the seeds; the others are better, equal or worse."""
    made = []
    for seed, common in enumerate((-0.3, 0.0, 0.3)):
        jitter = (-0.01, 0.02, -0.01)[seed]

        def add(way, evaluations, level, shake=0.0, seed=seed, common=common):
            made.append(Point(problem, seed, way, evaluations, 1.0, {what: level + common + shake}))

        add(BASELINE, 1000, 1.0)
        add(Way("heun", 10), 9, 3.0, 5 * jitter)
        add(Way("heun", 20), 19, 1.01, jitter)
        add(Way("heun", 50), 49, 0.99, -jitter)
        add(Way("unipc", 10), 10, 1.5, jitter)
        add(Way("adaptive-ode", relative=0.1), 17.5 + seed, 0.5, jitter)
    return made


def test_the_slack_is_of_differences_between_ways_of_the_same_seed():
    # each near way shakes by -.01, .02, -.01 about its level: variance .0003; heun with 9 evaluations is far off
    assert slack(points(), "p", "error") == pytest.approx(1.96 * math.sqrt(0.0003 / 3), rel=1e-6)
    assert slack([p for p in points() if p.seed == 0], "p", "error") == 0
    with pytest.raises(ValueError, match="euler-maruyama"):
        slack([p for p in points() if p.way != BASELINE], "p", "error")


def test_the_first_to_reach_the_baseline():
    reached = first_to_reach(points(), "p", "error")
    assert reached == {"euler-maruyama": 1000, "heun": 19, "unipc": None, "adaptive-ode": 18.5}


def test_the_best_within_a_budget():
    within = {budget: [best.way.sampler for best in best_within(points(), "p", "error", budget)] for budget in (10, 50)}
    assert within == {10: ["unipc"], 50: ["adaptive-ode"]}
    tied = [p for p in points() if p.way.sampler != "adaptive-ode"]
    assert [b.way for b in best_within(tied, "p", "error", 1000)] == [Way("heun", 50), BASELINE]


def test_facts_of_points_and_comparisons():
    facts = as_facts([*points(), Point("p", 0, Way("ddim", 5), 5, 1.0, {})], {"error": "m"}, "n = 4")
    assert sum(fact.what == "error" for fact in facts) == 18
    assert [fact.variant for fact in facts if fact.what == "not finite"] == ["ddim"]
    said = comparison_facts(points(), {"error": "m"}, [10])
    assert {(f.what, f.variant) for f in said if f.what in (REACHED, NEVER)} == {
        (REACHED, "euler-maruyama"),
        (REACHED, "heun"),
        (NEVER, "unipc"),
        (REACHED, "adaptive-ode"),
    }


def test_ways_are_budgets_or_tolerances():
    assert ways({"heun": (5, 10), "adaptive-ode": (0.5,)}) == [
        Way("heun", 5),
        Way("heun", 10),
        Way("adaptive-ode", relative=0.5),
    ]
    assert Way("heun", 10, None, "uniform").label == "10 evaluations, uniform grid"


def test_a_point_measures_what_was_drawn():
    oracle = Oracle(EDM(), torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), 1, stds=0.5)
    seen = []
    problem = Problem("p", oracle, torch.zeros(7, dtype=torch.int64), (2,), {"mean": lambda x: seen.append(x) or 1.0})
    exact = measure(problem, Way("dpm++2m", 400), 0, 100)
    problem = problem._replace(flow=seen[0])
    coarse, fine = (measure(problem, Way("unipc", evaluations), 0, 100) for evaluations in (8, 60))
    assert exact.values == {"mean": 1.0}
    assert coarse.evaluations == 8
    assert fine.values[PAIRED] < 0.1 * coarse.values[PAIRED] < 0.1
    assert PAIRED not in measure(problem, Way("ancestral", 8), 0, 100).values
    assert PAIRED in measure(problem, Way("ddim", 8), 0, 100).values  # whose eta is zero by default
    assert measure(problem, Way("restart", 3), 0, 100) is None
    assert 8 < measure(problem, Way("adaptive-ode", relative=0.05), 0, 100).evaluations < 60


def test_distances_vanish_on_the_reference_alone():
    x = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for name, distance in distances(x, "it").items():
        assert name in ("SW to it", "FD to it")
        assert distance(x) == pytest.approx(0, abs=1e-6)
        assert distance(x + 0.5) > 0.1


def test_exact_scores_leave_the_error_of_the_sampler(noise_images):
    plan = {"dpm++2m": (5, 30), "euler-maruyama": (1000,), "adaptive-ode": (0.01,)}
    small = LabelledSet(noise_images.x[:, :1, :8, :8], noise_images.y, noise_images.names, "noise", "train")
    rows = ended(exact_rows(small, range(2), images=8, samples=40, plan=plan))
    where = "noise, exact scores of 8 images"
    floor = value(rows, "SW to the images", "[images drawn afresh]")
    assert value(rows, "SW to the images", "dpm++2m", "; 30 evaluations") < 2 * floor
    assert value(rows, PAIRED, "dpm++2m", "; 5 ") > value(rows, PAIRED, "dpm++2m", "; 30 ")
    assert value(rows, REACHED, "euler-maruyama", where) == 1000
    assert {row["seeds"] for row in rows if row["what"] == PAIRED} == {2}


RECIPES = Path(__file__).parents[2] / "recipes"
NETWORK = "{kind: mlp, width: 16, depth: 1, embedding: 8}"
TINY = (
    f"score.network={NETWORK}",
    "score.training={steps: 4, batch: 16}",
    *(
        f"classifiers.{name}.{key}"
        for name in ("ce", "dlsm")
        for key in (f"network={NETWORK}", "training={steps: 4, batch: 16}")
    ),
    "generators={}",
    "calibrate=null",
    "sample=null",
    "diagnose=null",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    recipe = load_recipe(RECIPES / "digits.yaml", TINY)
    for _ in repeat_recipe(recipe, range(2), folder, Processes(cpu=True), "condgen bench"):
        pass
    return recipe, folder


def test_quality_of_digits_in_rows(runs):
    recipe, folder = runs
    plan = {"heun": (9,), "euler-maruyama": (1000,), "adaptive-multistep": (0.2,)}
    rows = ended(quality_rows(recipe, folder, range(2), [0, 1.5], 20, plan))
    assert {row["size"].partition(";")[0] for row in rows} == {"digits, unguided", "digits, guided at scale 1.5"}
    assert {row["seeds"] for row in rows if "n = 20" in row["size"]} == {2}
    assert {row["variant"] for row in rows if row["variant"].startswith("[")} == {
        "[held-out images]",
        "[the model's SDE]",
        "[the model's flow]",
    }
    assert {row["variant"] for row in rows if row["what"] == PAIRED} == {"heun"}
    accuracies = [row for row in rows if row["what"] == "class accuracy"]
    assert {row["size"].partition(";")[0] for row in accuracies} == {"digits, guided at scale 1.5"}
    assert value(rows, "evaluations", "heun", "digits, unguided; 9 ") == 9
    assert all(math.isfinite(row["value"]) for row in rows)


def test_grids_on_two_schedules(runs):
    recipe, folder = runs
    rows = ended(grid_rows(recipe, folder, range(1), 1.5, 20, ("heun", "ancestral"), (9,)))
    assert [row["what"] for row in rows] == [PAIRED] * 3 + ["SW to the model's SDE"] * 3 + [PAIRED] * 3 + [
        "SW to the model's SDE"
    ] * 3
    for sampler in ("heun", "ancestral"):
        by_levels = [
            [row["value"] for row in rows if row["variant"] == sampler and grid in row["size"] and kind in row["size"]]
            for kind in ("edm", "vp")
            for grid in ("karras",)
        ]
        # the same noise levels on either schedule; the lowest of VP is higher, which the start of the time axis sets
        assert by_levels[0] == pytest.approx(by_levels[1], rel=0.3)


# ----------------------------------------------------------------------------------------------------
# Speed


def test_loops_take_turns_and_overheads_are_differences():
    rows = ended(speed_rows(torch.device("cpu"), evaluations=3, batch=2, rounds=1, peers=False, channels=16))
    for where in {row["size"] for row in rows}:
        bare = value(rows, "time", BARE, where)
        for loop in ("heun, condgen", "dpm++2m, condgen", "ancestral, condgen", "ddim, condgen"):
            ms = value(rows, "time", loop, where)
            assert value(rows, "overhead", loop, where) == pytest.approx(ms - bare)
            assert value(rows, "speed", loop, where) == pytest.approx(1000 * 2 / (3 * ms))
        if "U-Net" in where:
            scales = next(row["size"] for row in rows if "scales" in row["size"])
            assert value(rows, "loop", "ddim, condgen", where) == pytest.approx(
                value(rows, "overhead", "ddim, condgen", scales) / bare
            )
    assert len({row["size"] for row in rows}) == 2
    assert not any(row["what"] == "relative to the fastest peer" for row in rows)


def test_peers_that_are_not_there_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "k_diffusion", None)
    monkeypatch.setitem(sys.modules, "k_diffusion.sampling", None)
    with pytest.raises(UserError, match=r"k-diffusion cannot be imported.*--group bench.*--no-peers"):
        peer_loops(lambda x, c: x, torch.zeros(2, 1, 4, 4), 5)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # diffusers'
def test_peers_make_as_many_evaluations():
    pytest.importorskip("k_diffusion", reason="the peers are in the dependency group bench")
    calls = SimpleNamespace(count=0)

    def network(x, condition):
        assert condition.shape == (2,)
        calls.count += 1
        return 0.1 * x

    for name, loop in peer_loops(network, torch.zeros(2, 3, 8, 8), 9).items():
        calls.count = 0
        assert loop().isfinite().all()
        assert calls.count == 9, name


def test_parts_of_a_file_are_renewed_one_by_one():
    row = {"what": "w", "variant": "v", "size": "s", "value": 1.23456789, "unit": "u", "sd": None, "seeds": 1}
    first = combine(None, "a", {"command": "1"}, [row])
    both = combine(first, "b", {"command": "2"}, [row])
    again = combine(both, "a", {"command": "3"}, [{**row, "value": 2.0}])
    assert {part: about["command"] for part, about in again["what"].items()} == {"a": "3", "b": "2"}
    assert [(r["part"], r["value"]) for r in again["rows"]] == [("b", 1.2346), ("a", 2.0)]
    assert "sd" not in again["rows"][0]
